//! A run of the real pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rowtide_core::{DeleteMode, Mode, Result, TableSelection};
use rowtide_engine::{
    Environment, LostPosition, Monitor, Pipeline, Request, Requests, Settings, Summary, TableRule,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use crate::destination::ModelDestination;
use crate::scenario::{Kind, Scenario};
use crate::source::ModelSource;
use crate::world::World;

/// How a run is started.
#[derive(Debug, Clone)]
pub(super) struct Configuration {
    pub(super) once: bool,
    pub(super) resync: Vec<usize>,
    /// Whether what differs is put right when the position is lost.
    pub(super) repairs: bool,
}

/// An invariant that did not hold: its class, and what was seen.
pub(super) type Failure = (&'static str, String);

pub(super) struct Run {
    pub(super) id: u64,
    pub(super) configuration: Configuration,
    /// Where the log ended when the run began.
    pub(super) head: u64,
    /// Where it hears requests.
    #[cfg_attr(not(test), expect(dead_code, reason = "open, like that of a real run"))]
    pub(super) requests: mpsc::Sender<Request>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<Result<Summary>>>,
    outcome: Option<std::result::Result<Result<Summary>, JoinError>>,
}

impl Run {
    pub(super) fn start(
        world: &Arc<World>,
        scenario: &Scenario,
        id: u64,
        configuration: Configuration,
    ) -> Self {
        let (stop, shutdown) = watch::channel(false);
        let (requests, heard) = mpsc::channel(1);
        let pipeline = Pipeline {
            name: "model".into(),
            source: Arc::new(ModelSource::new(Arc::clone(world), id)),
            destination: Arc::new(ModelDestination::new(Arc::clone(world), id)),
            settings: settings(scenario, &configuration),
            monitor: Monitor::default(),
            environment: Environment::seeded(scenario.seed ^ id << 48),
            requests: Requests::from(heard),
        };
        let head = world.lock().log.end();
        let task = Some(tokio::spawn(pipeline.run(shutdown)));
        Self { id, configuration, head, requests, stop, task, outcome: None }
    }

    pub(super) fn ask(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.outcome.is_some() || self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            let outcome = task.await;
            self.outcome = Some(outcome);
            self.task = None;
        }
    }

    /// How it ended.
    pub(super) async fn outcome(mut self) -> std::result::Result<Result<Summary>, Failure> {
        self.ended().await;
        match self.outcome {
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(error)) => Err(("panic", error.to_string())),
            None => Err(("panic", "a run ended without an outcome".to_owned())),
        }
    }

    /// Ends it as if its process were killed: nothing gets to finish.
    pub(super) async fn kill(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            drop(task.await);
        }
    }
}

fn settings(scenario: &Scenario, configuration: &Configuration) -> Settings {
    let pattern = |table: usize| format!("public.t{table}").parse();
    let rule = |(table, kind): (usize, Kind)| {
        let (mode, delete) = match kind {
            Kind::Keyed | Kind::Keyless => (Mode::Merge, DeleteMode::Hard),
            Kind::Soft => (Mode::Merge, DeleteMode::Soft),
            Kind::Append => (Mode::Append, DeleteMode::Hard),
        };
        Some(TableRule {
            pattern: pattern(table).ok()?,
            mode: Some(mode),
            delete: Some(delete),
            metadata: None,
            schema: None,
            target: None,
            unrepresentable: None,
            columns: BTreeMap::new(),
        })
    };
    let kinds = scenario.tables.iter().map(|spec| spec.kind).enumerate();
    let knobs = &scenario.knobs;
    Settings {
        rules: kinds.filter_map(rule).collect(),
        once: configuration.once,
        on_position_lost: match configuration.repairs {
            true => LostPosition::Repair,
            false => LostPosition::Stop,
        },
        resync: configuration.resync.iter().filter_map(|&table| pattern(table).ok()).collect(),
        lanes: knobs.lanes,
        parallel_tables: knobs.parallel_tables,
        spool_bytes: knobs.spool_bytes,
        retry_initial: Duration::from_millis(1),
        retry_max: Duration::from_millis(20),
        retry_startup: Duration::from_secs(3600),
        ..Settings::new(TableSelection::parse(["public.*"]).unwrap_or_default())
    }
}
