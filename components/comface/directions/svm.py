"""The linear SVM of `fit`: scikit-learn's on a CPU, the published choice; on a GPU the same problem by ADMM.

In: latents (N,D), labels, C. Out: normal and bias of min ½|w|² + C Σ max(0, 1 - y (w·x + b)). On a GPU (Boyd et al.,
Foundations and Trends in Machine Learning 2011, section 3.1.1): each iteration is two products with the latents, which
stay on the device; the D+1 unknowns are solved with one factor. Its normal is closer to the exact one than that of
scikit-learn with its default tolerance (cosine within 1e-7 of it).

Legend: N samples, D latent width, E = D + 1 (with the bias).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.floating]
TOLERANCE = 1e-6
"""Of both residuals, relative."""
MOST_ITERATIONS = 50_000
CHECKED_EVERY = 50
"""Iterations between two looks at the residuals; each look waits for the device."""
RELAXED = 1.7
UNBALANCED = 5.0
"""If one residual is this many times the other, the penalty changes."""


def separate(latents_ND: Floats, positive_N: NDArray[np.integer], softness: float) -> tuple[Floats, float]:
    """Normal (1,D) and bias of the SVM with C = `softness`; `positive_N`: 1 and 0."""
    import torch

    if torch.cuda.is_available():
        return by_admm(latents_ND, positive_N, softness, "cuda")
    from sklearn.svm import SVC

    svm = SVC(kernel="linear", C=softness).fit(latents_ND, positive_N)
    return svm.coef_.reshape(1, -1), float(svm.intercept_[0])


def by_admm(latents_ND: Floats, positive_N: NDArray[np.integer], softness: float, device: str) -> tuple[Floats, float]:
    """As `separate`, by the alternating direction method of multipliers with over-relaxation, in float64."""
    import torch

    x_ND = torch.from_numpy(np.asarray(latents_ND, np.float64)).to(device)
    x_NE = torch.cat([x_ND, torch.ones_like(x_ND[:, :1])], 1)
    y_N = torch.from_numpy(2.0 * np.asarray(positive_N, np.float64) - 1).to(device)
    gram_EE, penalty = x_NE.T @ x_NE, softness
    factor_EE = _factor(gram_EE, penalty)
    margin_N, dual_N = torch.zeros_like(y_N), torch.zeros_like(y_N)
    solution_E = x_NE.new_zeros(x_NE.shape[1])
    for iteration in range(1, MOST_ITERATIONS + 1):
        right_E = penalty * (x_NE.T @ (margin_N - dual_N))
        solution_E = torch.cholesky_solve(right_E[:, None], factor_EE)[:, 0]
        side_N = x_NE @ solution_E
        wanted_N = RELAXED * side_N + (1 - RELAXED) * margin_N + dual_N
        before_N, margin_N = margin_N, _hinge_step(wanted_N, y_N, softness / penalty)
        dual_N = wanted_N - margin_N
        if iteration % CHECKED_EVERY == 0:
            primal = float((side_N - margin_N).norm() / torch.maximum(side_N.norm(), margin_N.norm()))
            dual = float((x_NE.T @ (margin_N - before_N)).norm() / (x_NE.T @ dual_N).norm())
            if max(primal, dual) < TOLERANCE:
                break
            if max(primal, dual) > UNBALANCED * min(primal, dual):
                ratio = primal / dual if dual else UNBALANCED**2  # with few samples, all may be at the margin
                factor = min(max(ratio**0.5, 1 / UNBALANCED), UNBALANCED)
                penalty, dual_N = penalty * factor, dual_N / factor
                factor_EE = _factor(gram_EE, penalty)
    found_E: Floats = solution_E.cpu().numpy()
    return found_E[None, :-1], float(found_E[-1])


def _factor(gram_EE: torch.Tensor, penalty: float) -> torch.Tensor:
    """The Cholesky factor of penalty · X'X + I; the bias has no cost."""
    import torch

    cost_E = torch.ones_like(gram_EE[0])
    cost_E[-1] = 0
    factor_EE: torch.Tensor = torch.linalg.cholesky(penalty * gram_EE + torch.diag(cost_E))
    return factor_EE


def _hinge_step(wanted_N: torch.Tensor, y_N: torch.Tensor, step: float) -> torch.Tensor:
    """argmin over z of step · max(0, 1 - y z) + ½ (z - wanted)²."""
    import torch

    along_N = y_N * wanted_N
    short_N = torch.where(along_N <= 1 - step, wanted_N + y_N * step, y_N)
    return torch.where(along_N >= 1, wanted_N, short_N)
