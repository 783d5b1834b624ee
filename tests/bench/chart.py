# SPDX-License-Identifier: MIT
"""A page of bar and line charts as SVG, with nothing but strings."""
import math
from xml.sax.saxutils import escape

COLORS = ["#1f6feb", "#57a6ff", "#d1573c", "#3f8f5f", "#8a63d2", "#b58900", "#6e7781", "#c25a94"]
STYLE = ("text{font-family:DejaVu Sans,Verdana,sans-serif;font-size:11px;fill:#24292f}.t{font-size:14px;font-weight:bold}"
         ".s{fill:#57606a}.g{stroke:#d0d7de;stroke-width:1}.v{font-size:10px}")


def number(v):
    if v >= 1e6:
        return "%.3gM" % (v / 1e6)
    if v >= 1e4:
        return "%.3gk" % (v / 1e3)
    return "%.0f" % v if v >= 10 else "%.2g" % v


class Page:
    def __init__(self, title, subtitle, width=860):
        self.width, self.y, self.parts = width, 64, []
        self.text(20, 28, title, "t")
        self.text(20, 46, subtitle, "s")

    def text(self, x, y, s, cls="", anchor="start"):
        self.parts.append('<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (x, y, cls, anchor, escape(s)))

    def bars(self, title, groups, unit):
        """groups: [(name, [(label, value, note)])]; one colour per label over all groups."""
        labels = list(dict.fromkeys(label for _, rows in groups for label, _, _ in rows))
        top = max((v for _, rows in groups for _, v, _ in rows), default=1) or 1
        left, room = 250, self.width - 250 - 160
        self.y += 22
        self.text(20, self.y, title, "t")
        self.text(self.width - 20, self.y, unit, "s", "end")
        self.y += 10
        for name, rows in groups:
            self.y += 8
            self.text(20, self.y + 11, name, "s")
            for label, v, note in rows:
                w = max(1.0, room * v / top)
                self.text(left - 8, self.y + 11, label, "", "end")
                self.parts.append('<rect x="%d" y="%.1f" width="%.1f" height="13" rx="2" fill="%s"/>' %
                                  (left, self.y, w, COLORS[labels.index(label) % len(COLORS)]))
                self.text(left + w + 6, self.y + 11, number(v) + (" \u00b7 " + note if note else ""), "v")
                self.y += 17
        self.y += 14

    def lines(self, title, series, xlabel, unit):
        """series: [(label, [(x, y)])]; the x axis is logarithmic, y begins at 0."""
        series = [(label, pts) for label, pts in series if pts]
        if not series:
            return
        h, left, right = 190, 70, 250
        w = self.width - left - right
        xs = sorted({x for _, pts in series for x, _ in pts})
        top = max(y for _, pts in series for _, y in pts) * 1.1 or 1
        lo, hi = math.log10(xs[0]), math.log10(xs[-1])

        def px(x):
            return left + (w * (math.log10(x) - lo) / (hi - lo) if hi > lo else w / 2)

        self.y += 22
        self.text(20, self.y, title, "t")
        self.text(self.width - 20, self.y, unit, "s", "end")
        self.y += 14
        base = self.y + h
        for i in range(5):
            y = base - h * i / 4
            self.parts.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="g"/>' % (left, left + w, y, y))
            self.text(left - 8, y + 4, number(top * i / 4), "v", "end")
        for x in xs:
            self.text(px(x), base + 16, number(x), "v", "middle")
        self.text(left + w / 2, base + 32, xlabel, "s", "middle")
        for i, (label, pts) in enumerate(series):
            color = COLORS[i % len(COLORS)]
            path = " ".join("%.1f,%.1f" % (px(x), base - h * y / top) for x, y in pts)
            self.parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (path, color))
            for x, y in pts:
                self.parts.append('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (px(x), base - h * y / top, color))
            self.parts.append('<rect x="%d" y="%.1f" width="11" height="11" fill="%s"/>' % (left + w + 20, self.y + 17 * i, color))
            self.text(left + w + 36, self.y + 10 + 17 * i, label)
        self.y = base + 46

    def save(self, path):
        with open(path, "w") as f:
            f.write('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">\n<style>%s</style>\n'
                    '<rect width="100%%" height="100%%" fill="#ffffff"/>\n%s\n</svg>\n' %
                    (self.width, self.y + 20, self.width, self.y + 20, STYLE, "\n".join(self.parts)))
