"""Docstrings of the public interface are numpydoc and complete: every parameter, what is returned, what is raised."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

FACES = (
    "",
    ".callbacks",
    ".checkpoint",
    ".compat.implicit",
    ".datasets",
    ".distributed",
    ".evaluation",
    ".export",
    ".interactions",
    ".tuning",
    ".weighting",
)
NEVER_RAISES = {"get_params", "to_arrays"}


def public(face: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions, and methods of classes, that a face of the package hands on; a class stands for its constructor."""
    module = importlib.import_module(f"fastals{face}")
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    for name in names:
        member = getattr(module, name)
        if not is_own(member):
            continue
        if inspect.isfunction(member):
            yield name, member
        elif inspect.isclass(member) and not issubclass(member, tuple):
            methods = inspect.getmembers(member, lambda value: inspect.isfunction(value) or inspect.ismethod(value))
            own = (
                (method, function) for method, function in methods if not method.startswith("_") and is_own(function)
            )
            yield from ((f"{name}.{method}", function) for method, function in own)


def is_own(value: Any) -> bool:
    """Whether the package defines it, and it is not one of the things that every module imports."""
    home = getattr(value, "__module__", None) or ""
    return home.startswith("fastals") and not home.startswith("fastals.core.validation")


FUNCTIONS = {f"{face}.{name}".lstrip("."): function for face in FACES for name, function in public(face)}


def sections(function: Callable[..., Any]) -> dict[str, str]:
    """Text of each numpydoc section, by its title."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(function) or "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_public_interface_has_been_found():
    assert {"ImplicitALS.fit", "evaluation.ranking_metrics_at_k", "callbacks.ValidationCallback.restore"} <= set(
        FUNCTIONS
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_is_complete(name):
    signature, found = inspect.signature(FUNCTIONS[name]), sections(FUNCTIONS[name])
    parameters = [parameter for parameter in signature.parameters if parameter not in ("self", "cls")]

    documented = re.findall(r"\w+", "\n".join(re.findall(r"^\S.*", found.get("Parameters", ""), re.MULTILINE)))
    assert set(parameters) <= set(documented)
    assert "Returns" in found or signature.return_annotation in (None, "None")
    assert "Raises" in found or name.split(".")[-1] in NEVER_RAISES
