"""Figures by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.tools.evaluation.logs import SETTINGS, chain, ran, written
from tools.evaluation.figures import auc, figures, logloss
from tools.evaluation.run import Run
from tools.evaluation.system import System


def test_figures_by_hand() -> None:
    """AUC with ties one half, log loss; None where there is nothing to tell apart."""
    assert auc(np.array([0.2, 0.5, 0.5, 0.7]), np.array([False, True, False, True])) == 0.875
    assert auc(np.array([0.2, 0.5]), np.array([True, True])) is None
    assert logloss(np.array([0.5, 0.5]), np.array([True, False])) == round(float(np.log(2)), 4)


def test_nothing_tested_is_no_error(tmp_path: Path) -> None:
    """A warm-up longer than the log: figures are None."""
    found, _ = ran([written(tmp_path, *chain(1, 3))], 100)
    assert (found["tested"], found["hr_at_10"], found["query_ms_p50"]) == (0, None, None)
    assert figures(Run(System(SETTINGS, "feed"), 0))["coverage"] is None
