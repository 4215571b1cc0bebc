//! The page: everything in one file, readable in light and in dark.

use super::chart::{bars, escaped, over_time, percentiles};
use super::{Report, shown, time_text, words};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5d6778;--page:#fbfbfd;--card:#fff;--edge:#dfe3ea;--main:#2f6fde}\
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa5b8;--page:#11151c;--card:#1a202b;--edge:#2c3545;--main:#6ea3ff}}\
*{box-sizing:border-box}body{margin:0;padding:2rem 1rem;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
main{max-width:820px;margin:auto}h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:0 0 .8rem}p{color:var(--soft);margin:0 0 1.2rem}\
section{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:1.1rem 1.2rem;margin:0 0 1.1rem;overflow-x:auto}\
.big{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.9rem}.big b{display:block;font-size:1.45rem}.big span{color:var(--soft)}\
table{border-collapse:collapse;width:100%}td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid var(--edge)}td:first-child,th:first-child{text-align:left}\
svg{width:100%;height:auto}svg text{fill:var(--soft);font-size:12px}.grid{stroke:var(--edge)}.line{fill:none;stroke:var(--main);stroke-width:2}\
.area{fill:var(--main);opacity:.14}.bar{fill:var(--main)}";

/// The whole page.
pub(super) fn render(report: &Report) -> String {
    let title = format!("oyez bench {}", report.bench);
    let mut body = format!(
        "<h1>{title}</h1><p>target {}, Oyez {}<br>{}<br>{}<br><code>{}</code></p>",
        escaped(report.target),
        env!("CARGO_PKG_VERSION"),
        escaped(&report.origin.at),
        escaped(&report.origin.machine()),
        escaped(&report.origin.command),
    );
    body += &figures(report);
    for (name, rates) in &report.timelines {
        body += &section(
            &format!("{} per second over time", words(name)),
            &over_time(rates),
        );
    }
    for (name, times) in &report.times {
        body += &section(
            &format!("time: {}", words(name)),
            &percentiles(&times.curve),
        );
    }
    body += &times(report);
    body += &memory(report);
    body += &parameters(report);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><main>{body}</main></html>\n"
    )
}

fn section(title: &str, content: &str) -> String {
    format!("<section><h2>{}</h2>{content}</section>", escaped(title))
}

fn figures(report: &Report) -> String {
    let figures = report.figures.iter().map(|figure| {
        format!(
            "<div><b>{}</b><span>{}</span></div>",
            figure.text(),
            escaped(&words(figure.name))
        )
    });
    section(
        "Figures",
        &format!("<div class=\"big\">{}</div>", figures.collect::<String>()),
    )
}

fn times(report: &Report) -> String {
    if report.times.is_empty() {
        return String::new();
    }
    let rows = report.times.iter().map(|(name, times)| {
        let cells = [
            times.p50_us,
            times.p90_us,
            times.p99_us,
            times.p999_us,
            times.p9999_us,
            times.max_us,
        ];
        let cells: String = cells
            .map(|us| format!("<td>{}</td>", time_text(us)))
            .concat();
        format!("<tr><td>{}</td>{cells}</tr>", escaped(&words(name)))
    });
    let head = "<tr><th>time<th>p50<th>p90<th>p99<th>p99.9<th>p99.99<th>max</tr>";
    section(
        "Percentiles",
        &format!("<table>{head}{}</table>", rows.collect::<String>()),
    )
}

fn memory(report: &Report) -> String {
    let Some(memory) = &report.memory else {
        return String::new();
    };
    let mut parts = vec![
        ("generator, user", memory.generator_user),
        ("kernel, slab", memory.kernel_slab),
        ("kernel, socket buffers", memory.kernel_socket_buffers),
        ("kernel, other", memory.kernel_other),
    ];
    if let Some(bytes) = memory.server_user {
        parts.insert(0, ("server, user", bytes));
    }
    let parts: Vec<(&str, Option<f64>)> = parts
        .into_iter()
        .map(|(name, bytes)| (name, memory.each(bytes)))
        .collect();
    section("Memory per connection", &bars(&parts))
}

fn parameters(report: &Report) -> String {
    let rows = report.parameters.iter().map(|(name, value)| {
        format!(
            "<tr><td>{}</td><td>{}</td></tr>",
            escaped(&words(name)),
            escaped(&shown(value))
        )
    });
    section(
        "Parameters",
        &format!("<table>{}</table>", rows.collect::<String>()),
    )
}

#[cfg(test)]
mod tests {
    use crate::bench::report::tests::sample;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = sample().page();
        for forbidden in ["http", "<script", "url(", "@import", "src="] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn the_page_has_a_chart_for_each_kind_of_figure() {
        let page = sample().page();
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(page.contains("deliveries per second over time"));
        assert!(page.contains("Memory per connection"));
    }

    #[test]
    fn what_others_wrote_is_escaped() {
        let page = sample().page();
        assert!(page.contains("&lt;seq&gt;") && !page.contains("<seq>"));
    }
}
