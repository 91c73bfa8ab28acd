"""Too many requests in flight, told by nothing but when the refusals come: always beside as many others.

A limit on what is in flight refuses the next one beside the same number each time, whatever the rate, and never lets
more of them in. So where a few refusals in succession met the same number, and no answer came out of a larger crowd,
that is believed and tried: what was found of rates is left aside. Beside few it takes more of them, as any steady rate
keeps about the same few in flight. One refusal beside clearly fewer shows it to be wrong, and so does it where keeping
to that number does not end the refusals; then it takes more of them to be believed again.
"""

from dataclasses import dataclass, field

_ENOUGH = 4
_LONGEST = 64
_LEAST = 4  # beside fewer than these the same number is no wonder
_MANY, _BESIDE_FEW = 20, 2
_SAME = 0.02  # what is still on the way there, or has just left
_FEWER = 0.1
_TRIED, _ANSWERS_EACH = 6, 10  # refusals; answers for each of them, or keeping to the number is of no use


@dataclass(slots=True)
class Crowd:
    """`limit`: how many in flight the gateway is believed to take; None where nothing of the kind is believed."""

    limit: int | None = None
    most: int = 0  # in flight beside a try that was answered, since the first of the refusals that count
    beside: list[int] = field(default_factory=list)  # at the refusals that count
    _enough: int = _ENOUGH
    _refusals: int = 0
    _answers: int = 0

    def answered(self, beside: int) -> None:
        """A try was answered beside so many others."""
        if self.beside:
            self.most = max(self.most, beside)
            self._answers += 1

    def refused(self, beside: int) -> None:
        """A try was refused, without a word of the reason, that was sent beside so many others."""
        if self.limit is not None:
            self._refusals += 1
            useless = self._refusals >= _TRIED and self._answers < _ANSWERS_EACH * self._refusals
            if useless or beside < self.limit - max(1.0, _FEWER * self.limit):
                self.limit, self.beside = None, []
                self._enough = min(_LONGEST, 2 * self._enough)
            return
        same = max(1.0, _SAME * beside)
        if beside < _LEAST or any(abs(beside - other) > same for other in self.beside):
            self.beside = []
        if not self.beside:
            self.most = 0
        self.beside.append(beside)
        if beside >= _LEAST and len(self.beside) >= self._wanted(beside) and self.most <= max(self.beside) + same:
            self.limit = max(self.beside)
            self._refusals = self._answers = 0

    def _wanted(self, beside: int) -> int:
        """Refusals that have to be alike."""
        return self._enough * (1 if beside >= _MANY else _BESIDE_FEW)
