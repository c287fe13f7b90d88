"""Every object has the form that Kubernetes documents, and no field that it does not know."""

from __future__ import annotations

import kubernetes_validate
import pytest

from support.manifests import OVERLAYS, name_of, rendered

VERSION = "1.36"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_object_keeps_to_its_schema() -> None:
    seen = set()
    for overlay in OVERLAYS:
        for one in rendered(overlay):
            if (text := str(one)) not in seen:
                seen.add(text)
                kubernetes_validate.validate(one, VERSION, strict=True)


def test_a_field_that_nobody_knows_is_found() -> None:
    [service] = [one for one in rendered("control-plane") if name_of(one) == "Service nordan/nordan-api"]
    service["spec"]["sessionAffinty"] = "None"
    with pytest.raises(kubernetes_validate.ValidationError, match="sessionAffinty"):
        kubernetes_validate.validate(service, VERSION, strict=True)
