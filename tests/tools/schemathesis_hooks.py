"""Tells schemathesis what the OpenAPI document cannot express: bodies with SDP or SDP fragments are text."""

import schemathesis

TEXT = ["application/sdp", "application/trickle-ice-sdpfrag"]

schemathesis.serializer.alias(TEXT, "text/plain")
