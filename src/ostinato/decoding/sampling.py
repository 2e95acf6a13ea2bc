"""Drawing from a model's distribution: temperature, top-k and nucleus, repeatable from a seed.

Source of the nucleus: Holtzman, Buys, Du, Forbes and Choi, "The Curious Case of Neural Text Degeneration", ICLR 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ostinato.errors import InputError


class Sampler:
    """Draw one number from each row of logits ``[B, V]``.

    Args:
        temperature: divides the logits: under 1 the likely become likelier, 0 takes the likeliest.
        top_k: draw among the k likeliest only; 0 for all.
        top_p: draw among the likeliest that together have at least this probability (the nucleus); 1 for all.
        seed: the same seed draws the same numbers.
    """

    def __init__(self, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0) -> None:
        if not 0 <= temperature < float("inf"):
            raise InputError(f"the temperature must be 0 or more, got {temperature}")
        if top_k < 0:
            raise InputError(f"top-k must be 0 (all) or more, got {top_k}")
        if not 0 < top_p <= 1:
            raise InputError(f"top-p must be above 0 and at most 1 (all), got {top_p}")
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, logits: Tensor) -> Tensor:
        """``[B, V]`` to ``[B]``."""
        if self.temperature == 0:
            return logits.argmax(-1)
        return torch.multinomial(self.probabilities(logits), 1, generator=self.generator).squeeze(-1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution drawn from, ``[B, V]``; in float64, so that a low temperature stays exact."""
        logits = logits.double().cpu()
        if 0 < self.top_k < logits.shape[-1]:
            best, where = logits.topk(self.top_k)  # exactly k of them, even with ties
            logits = torch.full_like(logits, float("-inf")).scatter(-1, where, best)
        p = ((logits - logits.max(-1, keepdim=True).values) / max(self.temperature, 1e-300)).softmax(-1)
        return p if self.top_p == 1 else self._nucleus(p)

    def _nucleus(self, p: Tensor) -> Tensor:
        """The fewest of the likeliest that have ``top_p`` together, scaled to 1."""
        ordered, where = p.sort(dim=-1, descending=True, stable=True)  # [B, V]
        kept = ordered.cumsum(-1) - ordered < self.top_p  # what is before is not enough
        kept = torch.zeros_like(kept).scatter(-1, where, kept)
        return p.masked_fill(~kept, 0) / p.masked_fill(~kept, 0).sum(-1, keepdim=True)
