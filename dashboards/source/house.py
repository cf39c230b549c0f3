"""How every page is built: variables, links, panels, and the few queries that they are made of.

Not what a page shows; that is in the file named like it. Called by those files and by `generate.py`.
"""

import json

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as prom

TAG = "countersign"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
ME = 'instance=~"$instance"'


# Queries. Each asks for the chosen instances; `labels` narrows it further.

def of(metric, labels=""):
    return f"{metric}{{{', '.join(part for part in (ME, labels) if part)}}}"


def grouped(aggregate, by):
    return f"{aggregate} by ({by}) " if by else f"{aggregate} "


def rate(metric, labels="", by=""):
    return f"{grouped('sum', by)}(rate({of(metric, labels)}[$__rate_interval]))"


def grown(metric, labels="", by=""):
    """Over the whole range that the page shows."""
    return f"{grouped('sum', by)}(increase({of(metric, labels)}[$__range]))"


def value(metric, aggregate="sum", by="", labels=""):
    return f"{grouped(aggregate, by)}({of(metric, labels)})"


def quantile(share, metric, by="", labels=""):
    groups = "le" + (f", {by}" if by else "")
    buckets = of(f"{metric}_bucket", labels)
    return f"histogram_quantile({share}, sum by ({groups}) (rate({buckets}[$__rate_interval])))"


def age(metric, by):
    """Since a point in time. 0 is a metric's way of saying never."""
    return f"time() - max by ({by}) ({of(metric)} > 0)"


class Target:
    def __init__(self, expr, legend="", *, exemplars=False, instant=False):
        self.expr, self.legend, self.exemplars, self.instant = expr, legend, exemplars, instant

    def built(self, number):
        query = prometheus.Dataquery().expr(self.expr).legend_format(self.legend or "__auto").datasource(SOURCE)
        query = query.editor_mode(prom.QueryEditorMode.CODE).ref_id(chr(ord("A") + number)).exemplar(self.exemplars)
        return query.instant() if self.instant else query.range()


def latency(metric, by="", *, shares=(0.5, 0.99), labels="", exemplars=False):
    name = f"{{{{{by}}}}} " if by else ""
    return [Target(quantile(share, metric, by, labels), f"{name}p{share * 100:g}", exemplars=exemplars)
            for share in shares]


# Panels.

def colours(*steps):
    """Thresholds: (from this value on, colour). The first value is None."""
    steps = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def says(words):
    """What a value is called: {"0": ("NO", "red")}."""
    options = {value: model.ValueMappingResult(text=text, color=colour) for value, (text, colour) in words.items()}
    return model.ValueMap(options=options)


# A share of nothing is not a number.
QUIET = model.SpecialValueMap(options=model.DashboardSpecialValueMapOptions(
    match=model.SpecialValueMatch.NULL_AND_NAN, result=model.ValueMappingResult(text="none asked")))
YES_NO = says({"0": ("NO", "red"), "1": ("yes", "green")})


def described(it, title, description, targets, unit, width, height, limits, maximum, words):
    it = it.title(title).description(description).datasource(SOURCE).unit(unit).min(0).span(width).height(height)
    it = it.thresholds(limits or colours((None, "green"))).mappings(words or [])
    it = it.max(maximum) if maximum is not None else it
    return it.targets([target.built(number) for number, target in enumerate(targets)])


def lines(title, description, targets, *, unit="short", width=8, height=8, limits=None, maximum=None, stack=False):
    it = described(timeseries.Panel(), title, description, targets, unit, width, height, limits, maximum, None)
    # A fault that happened once is a single point, and no line.
    it = it.line_width(1).fill_opacity(25 if stack else 8).show_points(shapes.VisibilityMode.AUTO).span_nulls(False)
    mode = shapes.StackingMode.NORMAL if stack else shapes.StackingMode.NONE
    it = it.stacking(common.StackingConfig().mode(mode).group("A"))
    style = shapes.GraphThresholdsStyleMode.DASHED if limits else shapes.GraphThresholdsStyleMode.OFF
    it = it.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    legend = common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.LIST)
    it = it.legend(legend.placement(shapes.LegendPlacement.BOTTOM).show_legend(True))
    tooltip = common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI)
    return it.tooltip(tooltip.sort(shapes.SortOrder.DESCENDING))


def last():
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)


def number(title, description, targets, *, unit="short", width=4, height=4, limits=None, maximum=None, words=None):
    it = described(stat.Panel(), title, description, targets, unit, width, height, limits, maximum, words)
    it = it.reduce_options(last()).color_mode(shapes.BigValueColorMode.BACKGROUND)
    return it.graph_mode(shapes.BigValueGraphMode.AREA).text_mode(shapes.BigValueTextMode.AUTO)


def bars(title, description, targets, *, unit="short", width=8, height=8, limits=None):
    """One value each, over the range that the page shows, the largest on top."""
    it = described(bargauge.Panel(), title, description, targets, unit, width, height, limits, None, None)
    it = it.reduce_options(last()).orientation(shapes.VizOrientation.HORIZONTAL)
    return it.display_mode(shapes.BarGaugeDisplayMode.BASIC).show_unfilled(False)


# Pages.

def choice(name, label, description, metric, labels=""):
    """A variable that offers the values of `metric`'s label of that name."""
    scope = metric if name == "instance" else of(metric, labels)
    it = dashboard.QueryVariable(name).label(label).description(description).datasource(SOURCE)
    it = it.query({"query": f"label_values({scope}, {name})", "refId": name})
    it = it.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(model.VariableSort.ALPHABETICAL_ASC)
    return it.multi(True).include_all(True).all_value(".+").current(model.VariableOption(text="All", value="$__all"))


def link():
    """To the other pages, with what was chosen here and the time that is shown."""
    it = dashboard.DashboardLink("Countersign").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return it.as_dropdown(False).include_vars(True).keep_time(True).icon("external link")


def page(uid, title, description, rows, variables=()):
    it = dashboard.Dashboard(title).uid(uid).description(description).tags([TAG]).version(1).editable()
    it = it.tooltip(model.DashboardCursorSync.CROSSHAIR).refresh("30s").timezone("browser").time("now-3h", "now")
    it = it.link(link()).with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    it = it.with_variable(choice("instance", "Instance", "Which processes", "countersign_build_info"))
    for variable in variables:
        it = it.with_variable(variable)
    panel_id = 0
    for name, panels in rows:
        panel_id += 1
        it = it.with_row(dashboard.Row(name).id(panel_id))
        for panel in panels:
            panel_id += 1
            it = it.with_panel(panel.id(panel_id))
    return it.build()


def written(built):
    return json.dumps(built, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
