//! A stub authorizer on a thread of its own: the load generator's has enough to do, and its delays are what is measured.
//! Used by scenarios where the authorizer that misbehaves must not slow the client that looks at another one.

use std::ops::Deref;

use tokio::runtime::Runtime;

use crate::stub::{Script, Stub};

/// The stub; its thread ends with it.
pub(super) struct Aside {
    stub: Stub,
    runtime: Option<Runtime>,
}

impl Aside {
    pub(super) fn start(script: Script) -> anyhow::Result<Self> {
        let begin = move || {
            let runtime = crate::runtime(1)?;
            let stub = runtime.block_on(Stub::start(script))?;
            anyhow::Ok(Self { stub, runtime: Some(runtime) })
        };
        std::thread::spawn(begin).join().map_err(|_| anyhow::anyhow!("starting an authorizer ended with a panic"))?
    }
}

impl Deref for Aside {
    type Target = Stub;

    fn deref(&self) -> &Stub {
        &self.stub
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
