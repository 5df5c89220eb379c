//! A repair through the pipeline that runs in this process.

use async_trait::async_trait;
use rowtide_core::{Checkpoint, Error, Result, TableName, TablePlan, TableWrite, ledger};
use rowtide_engine::{Held, LONGEST_HOLD, hold};
use rowtide_verify::{Engine, Standstill};

use super::{Desk, PATIENCE};

#[async_trait]
impl Engine for Desk {
    async fn hold(&self, table: &TableName) -> Result<Box<dyn Standstill>> {
        let held = hold(&self.requests, vec![table.clone()], LONGEST_HOLD);
        let late = |_| Error::unavailable("the pipeline is busy and has not come to it");
        let held = tokio::time::timeout(PATIENCE, held).await.map_err(late)??;
        let plan = held.plans.first().cloned();
        let plan = plan.ok_or_else(|| Error::internal("a held pipeline told no plan"))?;
        Ok(Box::new(Still { held, plan }))
    }
}

struct Still {
    held: Held,
    plan: TablePlan,
}

#[async_trait]
impl Standstill for Still {
    fn checkpoint(&self) -> &Checkpoint {
        &self.held.checkpoint
    }

    fn plan(&self) -> &TablePlan {
        &self.plan
    }

    async fn commit(
        self: Box<Self>,
        writes: Vec<TableWrite>,
        entries: Vec<ledger::Entry>,
    ) -> Result<()> {
        let Self { held, plan } = *self;
        let writes = writes.into_iter().map(|write| (plan.clone(), write)).collect();
        held.commit(writes, entries).await
    }
}
