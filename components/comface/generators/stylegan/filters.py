"""Low-pass filters of StyleGAN3 (Karras et al. 2021, section 3 and appendix C): Kaiser-windowed sinc and jinc.

In: taps, cut-off, half-width of the transition band, sampling rate (cycles per image side). Out: float64, sum 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.signal
import scipy.special


def separable_filter(taps: int, cutoff: float, half_width: float, rate: float) -> npt.NDArray[np.float64]:
    """(taps,): sinc with a Kaiser window, for use along each axis."""
    filter_T: npt.NDArray[np.float64] = scipy.signal.firwin(taps, cutoff=cutoff, width=2 * half_width, fs=rate)
    return filter_T


def radial_filter(taps: int, cutoff: float, half_width: float, rate: float) -> npt.NDArray[np.float64]:
    """(taps, taps): jinc, J1(2 pi fc r) / r, which is radially symmetric, with the product of two Kaiser windows.
    `taps` must be even, so that no tap is at r = 0."""
    if taps % 2:
        raise ValueError("a radial filter needs an even number of taps")
    x = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(x[:, None], x[None, :])
    jinc = scipy.special.j1(2 * np.pi * cutoff * radius) / (np.pi * radius)
    attenuation = scipy.signal.kaiser_atten(taps, 2 * half_width / (rate / 2))
    window = np.kaiser(taps, scipy.signal.kaiser_beta(attenuation))
    windowed = jinc * window[:, None] * window[None, :]
    filter_TT: npt.NDArray[np.float64] = windowed / windowed.sum()
    return filter_TT
