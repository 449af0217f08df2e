//! `/metrics` in the Prometheus text format, version 0.0.4, and the counters of the HTTP server.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};

use warp::Filter;
use warp::http::StatusCode;
use warp::reply::Response;

use super::response;
use super::route::{Routes, read_only, with};
use super::state::HttpState;
use crate::conference::{Conference, Figures, MetricFamily, MetricKind, MetricSample};
use crate::rate_limit::{Limited, Limiter};

/// The counters of the HTTP server.
#[derive(Debug, Default)]
pub(super) struct HttpMetrics {
    /// Number of responses, by the first digit of their status, 1 to 5.
    responses: [AtomicU64; 5],
    /// Number of connections that are open now.
    pub(super) connections: AtomicI64,
    /// Number of connections and WebSockets refused because too many were open.
    pub(super) refused: AtomicU64,
    /// Number of connections closed because the client did not read its response.
    pub(super) write_timeouts: AtomicU64,
    /// Number of failed accepts, other than those caused by a client.
    pub(super) accept_errors: AtomicU64,
    /// Number of WebSockets that are open now.
    pub(super) websockets: AtomicI64,
    /// Number of WebSockets closed because the client did not read its events.
    pub(super) slow: AtomicU64,
}

impl HttpMetrics {
    /// Counts a response.
    pub(super) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.responses[class].fetch_add(1, Relaxed);
    }

    fn families(&self) -> Vec<MetricFamily> {
        let responses = MetricFamily {
            name: "mixminus_http_responses_total",
            help: "HTTP responses, by class of status code.",
            kind: MetricKind::Counter,
            samples: (1..=5)
                .zip(&self.responses)
                .map(|(class, count)| {
                    let class = format!("{class}xx");
                    MetricSample::of("class", class, count.load(Relaxed) as f64)
                })
                .collect(),
        };
        let gauge = |name, help, value: &AtomicI64| {
            MetricFamily::gauge(name, help, value.load(Relaxed) as f64)
        };
        let counter =
            |name, help, value: &AtomicU64| MetricFamily::counter(name, help, value.load(Relaxed));
        vec![
            responses,
            gauge(
                "mixminus_http_connections",
                "Open TCP connections to the HTTP port.",
                &self.connections,
            ),
            counter(
                "mixminus_http_connections_refused_total",
                "TCP connections and WebSockets refused because the limit of open connections was reached.",
                &self.refused,
            ),
            counter(
                "mixminus_http_write_timeouts_total",
                "TCP connections closed because the client did not read its response.",
                &self.write_timeouts,
            ),
            counter(
                "mixminus_http_accept_errors_total",
                "TCP connections that could not be accepted.",
                &self.accept_errors,
            ),
            gauge("mixminus_websockets", "Open WebSockets.", &self.websockets),
            counter(
                "mixminus_websockets_slow_total",
                "WebSockets closed because the client did not read its events.",
                &self.slow,
            ),
        ]
    }
}

/// Routes `/metrics`.
pub(super) fn routes(state: &Arc<HttpState>) -> Routes {
    warp::path!("metrics")
        .and(warp::method())
        .and(with(state))
        .then(|method, state: Arc<HttpState>| async move {
            let HttpState {
                conference,
                limiter,
                metrics,
                ..
            } = &*state;
            let page = page(conference, limiter, metrics).await;
            read_only(&method, || page)
        })
        .boxed()
}

/// Builds the response to `/metrics` from the counters of the conference, the rate limiters and
/// HTTP.
async fn page(conference: &Conference, limiter: &Limiter, http: &HttpMetrics) -> Response {
    let Figures {
        mut families,
        limited,
    } = conference.figures().await;
    families.extend(http.families());
    families.push(rate_limited(limiter, &limited));
    response::typed(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text(&families),
    )
}

/// Builds the metric of refusals by rate limiters.
///
/// - `limited`: number of refusals by the conference's rate limiters, for each [`Limited`]
///   operation.
fn rate_limited(limiter: &Limiter, limited: &[u64; Limited::ALL.len()]) -> MetricFamily {
    let sample = |what: &Limited| {
        let refused = limiter.refused(*what) + limited[*what as usize];
        MetricSample::of("what", what.word(), refused as f64)
    };
    MetricFamily {
        name: "mixminus_rate_limited_total",
        help: "Requests and messages refused by a rate limit, by limit.",
        kind: MetricKind::Counter,
        samples: Limited::ALL.iter().map(sample).collect(),
    }
}

fn text(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "# HELP {0} {1}\n# TYPE {0} {kind}",
            family.name, family.help
        );
        for sample in &family.samples {
            let labels = sample.labels.iter();
            let labels: Vec<String> = labels
                .map(|(label, is)| format!("{label}=\"{is}\""))
                .collect();
            let labels = match labels.as_slice() {
                [] => String::new(),
                some => format!("{{{}}}", some.join(",")),
            };
            let (name, suffix, value) = (family.name, sample.suffix, sample.value);
            let _ = writeln!(text, "{name}{suffix}{labels} {value}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_families_are_written_in_the_prometheus_text_format() {
        let families = [
            MetricFamily::counter("a_total", "Things.", 3),
            MetricFamily {
                name: "b_seconds",
                help: "Time.",
                kind: MetricKind::Gauge,
                samples: vec![MetricSample::of("why", "room closed", 0.25)],
            },
            MetricFamily {
                name: "c",
                help: "Spread.",
                kind: MetricKind::Histogram,
                samples: vec![MetricSample {
                    suffix: "_bucket",
                    labels: vec![("mixer", "0".into()), ("le", "0.004".into())],
                    value: 7.0,
                }],
            },
        ];
        assert_eq!(
            text(&families),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total 3\n# HELP b_seconds Time.\n# TYPE b_seconds gauge\nb_seconds{why=\"room closed\"} 0.25\n# HELP c Spread.\n# TYPE c histogram\nc_bucket{mixer=\"0\",le=\"0.004\"} 7\n"
        );
    }

    #[test]
    fn http_metrics_count_responses_by_status_class() {
        let metrics = HttpMetrics::default();
        metrics.count(StatusCode::SWITCHING_PROTOCOLS);
        metrics.count(StatusCode::NOT_FOUND);
        metrics.count(StatusCode::NOT_FOUND);
        let text = text(&metrics.families());
        assert!(text.contains("mixminus_http_responses_total{class=\"1xx\"} 1\n"));
        assert!(text.contains("mixminus_http_responses_total{class=\"4xx\"} 2\n"));
    }
}
