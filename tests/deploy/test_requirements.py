"""What the image holds is decided when its list is compiled, not by the interpreter that happens to build the image."""

from __future__ import annotations

from support.manifests import DEPLOY

LIST = DEPLOY.parent / "requirements" / "image.txt"


def test_the_images_list_is_compiled_for_the_images_python_alone() -> None:
    """A marker such as `python_full_version < '3.11.3'` is judged by the builder's Python; Debian's is 3.11.2."""
    pins = [line for line in LIST.read_text().splitlines() if "==" in line]
    assert [line for line in pins if ";" in line] == []
    names = {line.partition("==")[0] for line in pins}
    assert "async-timeout" in names, "redis needs it before Python 3.11.3"
    assert {"packaging", "tzdata"} <= names, "kombu and Celery need them and do not say so"
