"""Tells schemathesis what the contract cannot express: SDP and its fragments are text."""

import schemathesis

TEXT = ["application/sdp", "application/trickle-ice-sdpfrag"]

schemathesis.serializer.alias(TEXT, "text/plain")
