"""`apigateway schema`: JSON Schema, for editors and programs that write configurations."""

from __future__ import annotations

import click

from apigateway.cli.kinds import known_kinds, policies_option, settings_schema, unknown_kind
from apigateway.cli.printing import print_json
from apigateway.config.schema import DIALECT, configuration_schema


@click.command()
@click.argument("kind", required=False)
@policies_option
def schema(kind: str | None, policies: tuple[str, ...]) -> None:
    """Print the JSON Schema of a whole configuration, or of the settings of one KIND of policy.

    Exit status: 0 fine, 1 a policy file does not load, 3 there is no such kind.
    """
    registry = known_kinds(policies)
    if kind is None:
        known = (registry.get(name) for name in registry.names())
        print_json(configuration_schema({each.kind.name: settings_schema(each) for each in known if each}))
        return
    registered = registry.get(kind)
    if registered is None:
        unknown_kind(registry, kind)
    print_json({"$schema": DIALECT, **settings_schema(registered), "title": f"Settings of {kind}"})
