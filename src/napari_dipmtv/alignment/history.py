"""Alignments, one after the other, to one that counts: undo and redo as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from napari_dipmtv.data import Alignment
from napari_dipmtv.errors import InputError, expected

Move = tuple[int, float, float]  # view, dx, dy in px: its content was moved right and down


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentHistory:
    """Every alignment that was tried, oldest first, what made it, and which of them counts now.

    Nothing is ever computed back: an undone alignment is the earlier object itself, bit for bit.

    Attributes
    ----------
    alignments : tuple of Alignment
    made_by : tuple of (str or Move)
        A move by hand, or in words what else made it.
    position : int
        Which of them counts.
    """

    alignments: tuple[Alignment, ...]
    made_by: tuple[str | Move, ...]
    position: int = 0

    def __post_init__(self) -> None:
        count = len(self.alignments)
        if not (0 <= self.position < count == len(self.made_by)):
            got = f"position {self.position} of {count}, {len(self.made_by)} names"
            raise InputError(expected("alignment history", "one name per alignment", got, "Begin again"))

    @classmethod
    def begin(cls, alignment: Alignment, made_by: str) -> Self:
        """Start with one alignment."""
        return cls((alignment,), (made_by,))

    @classmethod
    def resumed(cls, alignment: Alignment, moves: Sequence[Move], made_by: str) -> Self:
        """Start with an alignment in which some moves were made before it was saved; they can be undone."""
        earlier = [alignment]
        for view, dx_px, dy_px in reversed(moves):
            earlier.append(earlier[-1].nudged(view, -dx_px, -dy_px))
        return cls(tuple(reversed(earlier)), (made_by, *moves), len(moves))

    @property
    def now(self) -> Alignment:
        """The alignment that counts."""
        return self.alignments[self.position]

    @property
    def moves(self) -> tuple[Move, ...]:
        """The moves by hand since the last alignment that was made in another way."""
        moves: tuple[Move, ...] = ()
        for made_by in self.made_by[: self.position + 1]:
            moves = () if isinstance(made_by, str) else (*moves, made_by)
        return moves

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier one."""
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether something was undone."""
        return self.position < len(self.alignments) - 1

    def then(self, alignment: Alignment, made_by: str | Move) -> Self:
        """Go on with a new alignment; what had been undone is forgotten."""
        kept = self.position + 1
        return replace(
            self,
            alignments=(*self.alignments[:kept], alignment),
            made_by=(*self.made_by[:kept], made_by),
            position=kept,
        )

    def nudged(self, view: int, dx_px: float, dy_px: float) -> Self:
        """Go on with one view moved by hand; see `Alignment.nudged`."""
        return self.then(self.now.nudged(view, dx_px, dy_px), (view, dx_px, dy_px))

    def undone(self) -> Self:
        """Step back; stays where it is at the oldest."""
        return replace(self, position=max(self.position - 1, 0))

    def redone(self) -> Self:
        """Step forward again; stays where it is at the newest."""
        return replace(self, position=min(self.position + 1, len(self.alignments) - 1))
