"""How figures are written on the page."""


def short(value, digits=3):
    if value is None:
        return "–"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.{digits - 1}f} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:.{digits}g}" if abs(value) < 100 else f"{value:,.0f}"


def ratio(ours, theirs):
    return "–" if not ours or not theirs else f"{ours / theirs:.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
