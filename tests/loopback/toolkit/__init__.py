"""What the tests over real sockets share: origins, clients, a gateway of the test's own, and an authority."""
