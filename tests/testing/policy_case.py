"""A policy's tests as those write them who test with Twisted's trial; test_harness.py runs them that way."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from apigateway.flow.registry import discover
from apigateway.testing import Gateway, run_examples


class MaintenanceTests(TestCase):
    """The maintenance policy."""

    def test_everybody_is_told_when_to_come_back(self) -> None:
        gateway = Gateway([{"policy": "maintenance", "with": {"retry_after": "10m"}}])
        self.addCleanup(gateway.close)
        answer = gateway.call()
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.headers.get(b"retry-after"), b"600")
        self.assertIsNone(answer.sent)

    def test_a_slow_answer_does_not_make_a_slow_test(self) -> None:
        gateway = Gateway([{"policy": "mock", "with": {"delay": "4s", "status": 204}}])
        self.addCleanup(gateway.close)
        self.assertEqual((gateway.call().status, gateway.call().seconds), (204, 4.0))

    def test_examples(self) -> None:
        for result in run_examples(discover().get("maintenance")):
            self.assertEqual(result.failures, ())
