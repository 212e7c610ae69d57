"""`glmdata inspect --stats`."""

import json

import click

__all__ = ["show_statistics"]


def show_statistics(folder: str, as_json: bool) -> None:
    """How lengths, spans, mask ratios, objectives, languages and sources are distributed, beside what was asked for."""
    from glmdata.histograms import histograms
    from glmdata.ledger import Ledger
    from glmdata.shards.reader import Shards
    from glmdata.shards.statistics import shard_statistics
    from glmdata.shares import count_shares

    shards = Shards(folder)
    statistics = shard_statistics(shards)
    shares = count_shares(Ledger(shards.place))
    charts = histograms(statistics, shares, shards.manifest)
    if as_json:
        found = {
            **statistics.as_json(),
            "records_by_language": {name: tally.as_json() for name, tally in shares.languages.items()},
            "records_by_source": {name: tally.as_json() for name, tally in shares.sources.items()},
            "expected": {
                chart.key: dict(zip(chart.labels, chart.expected, strict=True)) for chart in charts if chart.expected
            },
        }
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    from glmdata.cli.bars import Bar, print_bars
    from glmdata.cli.render import counted, make_console, visible

    console = make_console()
    console.print(
        f"{counted(statistics.rows, 'sample')} of {shards.folder}; │ and the second figure: what the recipe asks for\n"
    )
    for chart in charts:
        bars = [
            Bar(
                label=visible(label),
                share=share,
                told=f"{count:,}",
                expected=chart.expected[place] if chart.expected else None,
            )
            for place, (label, count, share) in enumerate(zip(chart.labels, chart.counts, chart.shares, strict=True))
        ]
        print_bars(console, chart.title, bars, chart.note)
