"""What schemathesis has to be told beside the contract: SDP and its fragments are text."""

import schemathesis

TEXT = ["application/sdp", "application/trickle-ice-sdpfrag"]

schemathesis.serializer.alias(TEXT, "text/plain")
