"""What twistd sees of the gateway: the service, the reactor and the endpoint strings."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

from apigateway.transport.parsers import NativeParser, NativeTlsParser, NativeUnixParser

service = ServiceMaker("API gateway", "apigateway.tap", "An API gateway.", "apigateway")
uvloop = Reactor("uvloop", "apigateway.transport.reactor", "asyncio's reactor, on uvloop where it is installed.")
native = NativeParser()
native_tls = NativeTlsParser()
native_unix = NativeUnixParser()
