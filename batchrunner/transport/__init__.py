"""One try over the wire. The border at which the network's exceptions become failures."""
