"""The demo's certificate: fetched, verified offline, and refused when a single byte is changed."""

from __future__ import annotations

from console import Console
from demo_stack import Stack


def fetch_and_verify_the_certificate(console: Console, stack: Stack, job: str) -> None:
    """Where the job ran and why that was lawful, without asking a server; the gap is shown."""
    console.heading("The certificate, verified offline")
    fetched = stack.nordan("certificate", "get", job, "--wait", "--out", "certificate.json")
    console.require(fetched.code == 0, "the certificate is sealed and fetched", fetched.text)
    keys = stack.nordan("certificate", "keys", "--out", "keys.json")
    console.require(keys.code == 0, "the two public keys are fetched once", keys.text)
    # An address where nobody listens and no key: whatever is verified now is verified without a server.
    offline = {"NORDAN_URL": "http://127.0.0.1:9", "NORDAN_KEY": "none", "HOME": "/nonexistent"}
    verified = stack.nordan("certificate", "verify", "certificate.json", "--keys", "keys.json", environment=offline)
    console.say(verified.text)
    console.check(verified.code == 0, "the certificate verifies offline", verified.text)
    console.check("egress" in verified.text, "its gap is shown: egress is not enforced", verified.text)

    whole = bytearray((stack.files / "certificate.json").read_bytes())
    place = whole.index(b'"payload":"') + 200
    whole[place] = ord("A") if whole[place] != ord("A") else ord("B")
    (stack.files / "changed.json").write_bytes(whole)
    changed = stack.nordan("certificate", "verify", "changed.json", "--keys", "keys.json", environment=offline)
    console.say(changed.text)
    console.check(changed.code != 0 and "signature" in changed.text, "a copy with one byte changed is refused")
