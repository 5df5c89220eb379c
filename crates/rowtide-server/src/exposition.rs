//! Metrics in the text format of Prometheus.

use metrics::{KeyName, Recorder as _};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use rowtide_core::metric::{ALL, Kind};
use rowtide_core::{Error, Result};

/// Makes this process record its metrics; there is one recorder in a process.
pub(crate) fn install() -> Result<PrometheusHandle> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|_| Error::internal("the metrics of this process are recorded already"))?;
    Ok(handle)
}

/// What `record` records, and nothing else.
///
/// # Errors
/// `Internal` if a metric's definition is wrong.
pub fn rendered(record: impl FnOnce()) -> Result<String> {
    let recorder = recorder()?;
    metrics::with_local_recorder(&recorder, record);
    Ok(recorder.handle().render())
}

/// A recorder that knows what every metric is about.
fn recorder() -> Result<PrometheusRecorder> {
    let wrong =
        |error: BuildError| Error::internal("the metrics are not well defined").with_source(error);
    let mut builder = PrometheusBuilder::new();
    for metric in ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets).map_err(wrong)?;
        }
    }
    let recorder = builder.build_recorder();
    for metric in ALL {
        let (name, about) = (KeyName::from_const_str(metric.name), metric.about.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, about),
            Kind::Gauge => recorder.describe_gauge(name, None, about),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, about),
        }
    }
    Ok(recorder)
}

#[cfg(test)]
mod tests {
    use rowtide_core::metric;

    use super::*;

    #[test]
    fn what_is_recorded_is_shown_with_its_description() {
        let hostile = "public.\"a\n{x=\"1\"} 2\\b";
        let text = rendered(|| {
            metrics::counter!(metric::CHANGES.name, metric::PIPELINE => "shop").increment(3);
            metrics::histogram!(metric::DELAY.name, metric::PIPELINE => "shop").record(0.003);
            metrics::gauge!(metric::TABLE_DIFFERING.name, metric::TABLE => hostile).set(1.0);
        })
        .unwrap();
        for line in [
            "# TYPE rowtide_changes_total counter",
            "rowtide_changes_total{pipeline=\"shop\"} 3",
            "# TYPE rowtide_delay_seconds histogram",
            "rowtide_delay_seconds_bucket{pipeline=\"shop\",le=\"0.0025\"} 0",
            "rowtide_delay_seconds_bucket{pipeline=\"shop\",le=\"0.005\"} 1",
            "rowtide_delay_seconds_count{pipeline=\"shop\"} 1",
            "rowtide_verify_table_differing_rows{table=\"public.\\\"a\\n{x=\\\"1\\\"} 2\\\\b\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        assert!(text.contains("# HELP rowtide_changes_total Changes of rows"), "{text}");
    }
}
