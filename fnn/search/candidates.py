"""What a search tries by default."""

from fnn.search.records import Candidate


def linear_candidates() -> tuple[Candidate, ...]:
    """Return the linear candidates: four penalties.

    >>> {candidate.width for candidate in linear_candidates()}
    {0}
    """
    return tuple(Candidate(0, l2) for l2 in (1e-4, 1e-3, 1e-2, 1e-1))


def network_candidates() -> tuple[Candidate, ...]:
    """Return the candidates with a hidden layer: ten combinations of width, penalty and dropout.

    >>> len(network_candidates())
    10
    """
    pairs = (3e-4, 0.0), (3e-4, 0.25), (3e-3, 0.0), (3e-3, 0.25), (3e-3, 0.5), (1e-2, 0.0), (1e-2, 0.25), (1e-2, 0.5)
    return (*(Candidate(64, l2, dropout) for l2, dropout in pairs), Candidate(64, 3e-2), Candidate(16, 1e-3))


def large_table_candidates() -> tuple[Candidate, ...]:
    """Return the candidates for tables of many rows: wider networks, weaker penalties, and two linear models.

    >>> sorted({candidate.width for candidate in large_table_candidates()})
    [0, 128]
    """
    pairs = (1e-6, 0.0), (1e-5, 0.0), (1e-4, 0.0), (1e-3, 0.0), (1e-5, 0.1), (1e-4, 0.1), (1e-4, 0.3), (1e-3, 0.3)
    return (*(Candidate(128, l2, dropout) for l2, dropout in pairs), Candidate(0, 1e-4), Candidate(0, 1e-2))


def few_candidates() -> tuple[Candidate, ...]:
    """Return the candidates for tables on which a step takes long, and for short limits of time.

    >>> len(few_candidates())
    5
    """
    pairs = (3e-4, 0.0), (3e-3, 0.25), (1e-2, 0.5)
    return (*(Candidate(32, l2, dropout) for l2, dropout in pairs), Candidate(0, 1e-3), Candidate(0, 3e-2))
