"""Factors of a fitted model: read-only, and copied when they are assigned."""

import copy
import pickle

import numpy as np
import pytest
from models import small


class TestFactorsOfTheModel:
    @pytest.mark.parametrize("name", ["user_factors", "item_factors"])
    def test_are_read_only(self, ratings, name):
        model = small().fit(ratings)
        for owner in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            with pytest.raises(ValueError, match="read-only"):
                getattr(owner, name)[0, 0] = 1

    def test_assigning_copies(self, ratings):
        model = small().fit(ratings)
        given = np.ones((22, 4))

        model.item_factors = given
        given[:] = 5

        assert (model.item_factors == 1).all()
        assert model.item_factors.dtype == np.float32
