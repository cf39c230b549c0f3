//! A token rotated as docs/KEYS.md says: old and new side by side, a real MinIO restarted with the new one, the old one seen to
//! be unused, and taken away. No call fails for it.

use loadtest::laboratory::mc::Mc;
use loadtest::laboratory::minio::Minio;
use loadtest::laboratory::{Laboratory, require};
use loadtest::stub::{Script, Stub};

use crate::support::{Countersign, Running, eventually};

const BOTH: &str = "tokens = [{ name = \"old\", file = \"{dir}/old\" }, { name = \"new\", file = \"{dir}/new\" }]";
const NEW: &str = "tokens = [{ name = \"new\", file = \"{dir}/new\" }]";

async fn decided(proxy: &Running, client: &str) -> f64 {
    let series = format!("countersign_front_requests_total{{client=\"{client}\",outcome=\"decided\"}}");
    proxy.metric(&series).await
}

async fn generation(proxy: &Running) -> String {
    let text = proxy.metrics().await;
    text.lines().find(|line| line.starts_with("countersign_config_info")).expect("a generation").to_owned()
}

/// A few calls, each of which must succeed.
async fn works(mc: &Mc, bucket: &str) {
    let text = format!("text for {bucket}");
    std::fs::write(mc.home().join("a.txt"), &text).unwrap();
    mc.run(&["mb", &format!("root/{bucket}")]).await.unwrap();
    mc.run(&["cp", "a.txt", &format!("root/{bucket}/a.txt")]).await.unwrap();
    assert_eq!(mc.run(&["cat", &format!("root/{bucket}/a.txt")]).await.unwrap(), text);
}

async fn minio(lab: &Laboratory, proxy: &Running, token: &str) -> Option<Minio> {
    require(lab.minio().plugin(&proxy.url(), Some(token)).start().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_rotated_under_a_real_minio_without_a_failed_call() {
    let stub = Stub::start(Script::allow()).await.unwrap();
    let listen = |tokens: &str| format!("drain = \"0s\"\n{tokens}");
    let setup = Countersign::asking(&stub.url()).listen(&listen(BOTH));
    let proxy = setup.file("old", "Bearer old\n").file("new", "Bearer new\n").start().await;
    let lab = Laboratory::open().unwrap();

    // As it was: everything comes with the old one.
    let Some(mut running) = minio(&lab, &proxy, "Bearer old").await else { return };
    works(&running.mc().unwrap(), "before").await;
    assert!(decided(&proxy, "old").await > 5.0 && decided(&proxy, "new").await == 0.0);

    // MinIO comes back with the new one. Its data stays where it is.
    running.set_env("MINIO_POLICY_PLUGIN_AUTH_TOKEN", "Bearer new");
    running.stop().await;
    running.start_again().await.unwrap();
    let mc = running.mc().unwrap();
    let (old, new) = (decided(&proxy, "old").await, decided(&proxy, "new").await);
    works(&mc, "between").await;
    // The look that docs/KEYS.md tells to take before the old one goes.
    assert_eq!(decided(&proxy, "old").await, old, "the old one is still in use");
    assert!(decided(&proxy, "new").await > new + 5.0);

    // The old one goes while calls are under way.
    let before = generation(&proxy).await;
    let file = proxy.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    let dir = proxy.home().display().to_string();
    let (both, only) = (BOTH.replace("{dir}", &dir), NEW.replace("{dir}", &dir));
    assert!(text.contains(&both), "{text}");
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let calls = tokio::spawn(async move {
        let mut calls = 0;
        while stopped.try_recv().is_err() {
            mc.run(&["cat", "root/between/a.txt"]).await.unwrap();
            calls += 1;
        }
        (calls, mc)
    });
    std::fs::write(&file, text.replace(&both, &only)).unwrap();
    proxy.signal("HUP");
    eventually("it is in force", async || (generation(&proxy).await != before).then_some(())).await;
    let so_far = decided(&proxy, "new").await;
    eventually("calls go on", async || (decided(&proxy, "new").await > so_far + 3.0).then_some(())).await;
    stop.send(()).unwrap();
    let (calls, mc) = calls.await.unwrap();
    assert!(calls > 0);
    works(&mc, "after").await;

    // Not one question was turned away, and from now on the old token is nobody's.
    let refused = "countersign_front_requests_total{client=\"unknown\",outcome=\"unauthorized\"}";
    assert_eq!(proxy.metric(refused).await, 0.0);
    let decisions = proxy.decisions();
    assert!(decisions.iter().all(|record| record["data"]["decision"] == "allow"), "{decisions:#?}");
    assert_eq!(proxy.post(b"", &[("Authorization", "Bearer old")]).await.status, 401);
    assert_eq!(proxy.post(b"", &[("Authorization", "Bearer new")]).await.status, 200);
    // The control: MinIO with a token that is gone gets nothing done.
    running.set_env("MINIO_POLICY_PLUGIN_AUTH_TOKEN", "Bearer old");
    running.stop().await;
    running.start_unready().unwrap();
    eventually("it is turned away", async || (proxy.metric(refused).await > 1.0).then_some(())).await;
    let failed = mc.attempt(&["cat", "root/between/a.txt"]).await.unwrap();
    assert_ne!(failed.code, Some(0), "{}", failed.stdout);
}
