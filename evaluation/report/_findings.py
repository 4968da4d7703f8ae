"""What to read from the numbers: who is best where, and where a floor is not beaten."""

from dataclasses import dataclass

from evaluation.report._panels import is_clear
from evaluation.report._results import Metric, Results, Score, known
from evaluation.report._words import count, interval, listed, metric_title, number, signed


@dataclass(frozen=True)
class Winner:
    """The best encoder and the best floor of one data set by its headline protocol.

    Args:
        data: Title of the data set.
        protocol: Title of the protocol.
        metric: What decides.
        best: The best encoder that is no floor; empty where there is none.
        best_group: How it is drawn.
        score: Its number.
        ends: Its interval.
        floor: The best floor; empty where there is none.
        floor_score: Its number.
        floor_ends: Its interval.
        gain: By how much the encoder is ahead of the floor; negative where the floor wins.
        gain_ends: Interval of the paired difference, where there is one.
        verdict: `ahead`, `unclear` or `floor`; empty where there is nothing to compare.
    """

    data: str
    protocol: str
    metric: str
    best: str
    best_group: str
    score: str
    ends: str
    floor: str
    floor_score: str
    floor_ends: str
    gain: str
    gain_ends: str
    verdict: str


def winners(results: Results) -> list[Winner]:
    """One entry for every data set with a number."""
    found = []
    for data, protocol in results.headlines.items():
        metric, scores = results.main_scores(data, protocol)
        best = results.best(scores, metric, floors=False)
        floor = results.best(scores, metric, floors=True)
        gain = _gain(results, data, protocol, metric, best, floor)
        found.append(
            Winner(
                results.data_title(data),
                results.protocol_title(protocol),
                metric_title(metric.name),
                best or "",
                results.group(best) if best else "",
                number(scores[best].value, metric.name) if best else "",
                interval(scores[best], metric.name) if best else "",
                floor or "",
                number(scores[floor].value, metric.name) if floor else "",
                interval(scores[floor], metric.name) if floor else "",
                signed(gain.value, metric.name) if gain else "",
                interval(gain, metric.name) if gain else "",
                _verdict(gain),
            )
        )
    return found


def _gain(
    results: Results, data: str, protocol: str, metric: Metric, best: str | None, floor: str | None
) -> Score | None:
    """By how much the best encoder is ahead of the best floor, more than zero if it is.

    Where the two were not compared on the same samples, the ends are those of the two intervals
    against each other, which is wider.
    """
    if best is None or floor is None:
        return None
    pairs = results.differences(data, protocol, metric)
    swapped = metric.sign < 0
    if (floor, best) in pairs:
        return pairs[(floor, best) if swapped else (best, floor)][0]
    scores = results.scores(data, protocol, metric)
    ahead, behind = (scores[name] for name in ((floor, best) if swapped else (best, floor)))
    low, high = ahead.span[0] - behind.span[1], ahead.span[1] - behind.span[0]
    return Score(ahead.value - behind.value, low, high)


def _verdict(gain: Score | None) -> str:
    if gain is None:
        return ""
    if gain.value < 0:
        return "floor"
    return "ahead" if is_clear(gain) else "unclear"


def findings(results: Results, table: list[Winner]) -> list[str]:
    """Sentences, the most important first; plain text."""
    return [
        sentence
        for sentence in (
            _scope(results),
            *_leaders(results),
            _wins(table),
            *_floor_wins(table),
            _not_clear(table),
            _all_protocols(results),
            _below_floor(results),
        )
        if sentence
    ]


def _scope(results: Results) -> str:
    floors = len(results.floors)
    done = sum(cell["status"] == "done" for cell in results.cells)
    seeds = len({cell["seed"] for cell in results.cells})
    empty = len(results.cells) - done
    return (
        f"{count(len(results.encoders) - floors, 'encoder')} and {count(floors, 'floor')} on "
        f"{count(len(results.data), 'data set')} by {count(len(results.protocols), 'protocol')} "
        f"with {count(seeds, 'seed')}: {count(done, 'cell has', 'cells have')} a number, "
        + (f"{count(empty, 'is', 'are')} empty (reasons below)." if empty else "none is empty.")
    )


def _leaders(results: Results) -> list[str]:
    """For each headline protocol of several data sets, who leads the aggregate."""
    sentences = []
    headlines = list(results.headlines.values())
    for protocol in dict.fromkeys(name for name in headlines if headlines.count(name) > 1):
        rows = [
            row
            for row in results.raw["aggregate"]
            if row["protocol"] == protocol
            and row["encoder"] not in results.floors
            and known(row["normalised_mean"]) is not None
        ]
        if not rows:
            continue
        rows.sort(key=lambda row: -row["normalised_mean"])
        words = [
            f"{row['encoder']} ({row['normalised_mean']:.3f}, rank {row['average_rank']:.1f}, "
            f"{row['data_sets']} of {row['of']} data sets)"
            for row in rows[:2]
        ]
        title = results.protocol_title(protocol)
        rest = f", then {words[1]}" if len(words) > 1 else ""
        sentences.append(f"{title}: the highest normalised mean is that of {words[0]}{rest}.")
    return sentences


def _wins(table: list[Winner]) -> str:
    names = [w.floor if w.verdict == "floor" or not w.best else w.best for w in table]
    tally = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))
    words = [f"{name} on {names.count(name)}" for name in tally]
    return f"Best of all on {count(len(table), 'data set')}: {listed(words)}." if words else ""


def _floor_wins(table: list[Winner]) -> list[str]:
    return [
        f"A floor wins on {winner.data}: {winner.floor} has {winner.metric} {winner.floor_score} "
        f"[{winner.floor_ends}], "
        + (
            f"the best encoder, {winner.best}, {winner.score} [{winner.ends}]"
            f" (difference {winner.gain} [{winner.gain_ends}])."
            if winner.best
            else "and no encoder has a number."
        )
        for winner in table
        if winner.verdict == "floor" or (winner.floor and not winner.best)
    ]


def _not_clear(table: list[Winner]) -> str:
    names = [
        f"{winner.data} ({winner.best} against {winner.floor}: {winner.gain} [{winner.gain_ends}])"
        for winner in table
        if winner.verdict == "unclear"
    ]
    if names:
        return (
            "Not clearly ahead of the best floor, as the interval of the difference holds zero: "
            f"{listed(names)}."
        )
    if table and all(winner.verdict == "ahead" for winner in table):
        return "On every data set the best encoder is clearly ahead of every floor."
    return ""


def _all_protocols(results: Results) -> str:
    """How often a floor is best, over everything that was measured."""
    total, lost = 0, dict.fromkeys(results.data, 0)
    for data in results.data:
        for protocol in results.protocols_of(data):
            metric, scores = results.main_scores(data, protocol)
            best, floor = (results.best(scores, metric, floors=wanted) for wanted in (False, True))
            if best and floor:
                total += 1
                lost[data] += metric.sign * (scores[best].value - scores[floor].value) < 0
    if not total:
        return ""
    pairs = f"{count(total, 'pair')} of data set and protocol"
    words = [
        f"{results.data_title(data)} by {times} of "
        f"{count(len(results.protocols_of(data)), 'protocol')}"
        for data, times in lost.items()
        if times
    ]
    if not words:
        return f"In none of {pairs} is a floor best."
    return f"A floor is best in {sum(lost.values())} of {pairs}: {listed(words)}."


def _below_floor(results: Results) -> str:
    """Encoders that are behind the best floor somewhere, by the headline protocols."""
    behind: dict[str, int] = {}
    tried: dict[str, int] = {}
    for data, protocol in results.headlines.items():
        metric, scores = results.main_scores(data, protocol)
        floor = results.best(scores, metric, floors=True)
        if floor is None:
            continue
        for name in scores.keys() - results.floors:
            tried[name] = tried.get(name, 0) + 1
            if metric.sign * (scores[name].value - scores[floor].value) < 0:
                behind[name] = behind.get(name, 0) + 1
    if not behind:
        return ""
    ranked = sorted(behind, key=lambda name: (-behind[name], name))
    words = [f"{name} (on {behind[name]} of {tried[name]})" for name in ranked]
    return f"Behind the best floor of a data set: {listed(words)}."
