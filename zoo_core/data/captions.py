"""Captions as tokens of a small vocabulary of whole words; importing this costs no torch.

A caption is `length` integers: words by their place in the vocabulary, from 1, then 0 for padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zoo_core.errors import UsageError, nearest

SHOWN = 40
"""Words of a vocabulary that a message names."""


@dataclass(frozen=True)
class Tokenizer:
    """Words to tokens and back.

    Attributes:
        words: of the vocabulary, lower case; word k is token k + 1.
        length: tokens of a caption, padding included.
    """

    words: tuple[str, ...]
    length: int

    @property
    def vocabulary(self) -> int:
        """Number of tokens, the padding counted."""
        return len(self.words) + 1

    @property
    def _shown(self) -> str:
        """The first words, as a message names them."""
        more = len(self.words) - SHOWN
        return ", ".join(self.words[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")

    def encode(self, text: str) -> list[int]:
        """Return `length` tokens of a caption: words in any case, set apart by spaces.

        Raises:
            UsageError: for no word at all, unknown words (all of them, each with its nearest match), or more
                words than fit.
        """
        given = text.lower().split()
        unknown = [word for word in dict.fromkeys(given) if word not in self.words]
        if unknown:
            matches = {word: nearest(word, self.words) for word in unknown}
            raise UsageError(
                f"the caption {text!r} has words that this data's captions never use: {', '.join(unknown)}",
                *(f"did you mean: {match} for {word}" for word, match in matches.items() if match),
                f"words: {self._shown}",
            )
        if not 0 < len(given) <= self.length:
            raise UsageError(
                f"a caption of {len(given)} words was given: {text!r}",
                f"expected: 1 to {self.length} of {self._shown}",
            )
        return [self.words.index(word) + 1 for word in given] + [0] * (self.length - len(given))

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the caption of tokens; padding is skipped.

        Raises:
            UsageError: for a token outside the vocabulary.
        """
        wrong = [int(token) for token in tokens if not 0 <= token < self.vocabulary]
        if wrong:
            raise UsageError(f"no word has token {wrong[0]}", f"expected: 0 to {self.vocabulary - 1}")
        return " ".join(self.words[token - 1] for token in tokens if token)

    def decode_all(self, captions: Iterable[Sequence[int]]) -> list[str]:
        """Return captions as texts, as `decode` does."""
        return [self.decode(tokens) for tokens in captions]
