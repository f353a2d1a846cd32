"""scikit-learn's conventions without scikit-learn: parameters are what ``__init__`` takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class NotFittedError(ValueError, AttributeError):
    """A model is used before it has been fitted (the bases are those of scikit-learn's error of this name)."""


class Parameters:
    """``get_params``, ``set_params`` and ``repr`` from the signature of ``__init__``."""

    @classmethod
    def _parameter_defaults(cls) -> dict[str, Any]:
        signature = inspect.signature(cls.__init__)
        return {name: p.default for name, p in signature.parameters.items() if name != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name.

        Parameters
        ----------
        deep : bool
            For compatibility; there are no nested models.

        Returns
        -------
        dict
        """
        return {name: getattr(self, name) for name in self._parameter_defaults()}

    def set_params(self, **params: Any) -> Parameters:
        """Set parameters by name; they take effect at the next ``fit``.

        Parameters
        ----------
        **params
            New values, by the names of the constructor's arguments.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a name that is not a parameter; nothing is set then.
        """
        known = self._parameter_defaults()
        for name in params:
            if name not in known:
                raise ValueError(
                    f"{name!r} is not a parameter of {type(self).__name__}; valid parameters are {', '.join(known)}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        # Called by scikit-learn alone, which is there then: it asks before `check_is_fitted`, for one.
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            input_tags=InputTags(two_d_array=False, sparse=True),
        )

    def __repr__(self) -> str:
        changed = [
            f"{name}={value!r}"
            for (name, default), value in zip(
                self._parameter_defaults().items(), self.get_params().values(), strict=True
            )
            if repr(value) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def documented_by(function: Callable[..., Any], axis: int | None = None) -> Callable[[Function], Function]:
    """Decorator of a method that delegates: below its own first line stands what the function's docstring says.

    Of a function for users (``axis`` 0) and items (1), "user (or item)" becomes what the method is for.
    """

    def documented(method: Function) -> Function:
        _, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n")
        if axis is not None:
            rest = re.sub(r"(\S+|\([^()]*\)) \(or (\S+|\([^()]*\))\)", rf"\{axis + 1}", rest)
        method.__doc__ = f"{method.__doc__}\n{rest}"
        return method

    return documented
