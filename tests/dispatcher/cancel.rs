//! Futures dropped at each of their awaits: what they began has happened whole or not at all, and
//! asking again gives what was wanted, once.

use std::collections::HashSet;

use tidings::{Confirmation, Edit, Overlap, PageRequest, Status, WebhookQuery};

use super::faulty::Fault;
use super::kit::{Answer, FINE, Stage, millis, poll_times, quiet, registration, seconds};

/// More polls than any operation needs when every call waits so often.
const POLLS: usize = 40;
const WAITS: usize = 4;

fn slow(stage: &Stage) {
    stage.plan(|_, _| Fault::Yield(WAITS));
}

async fn webhooks(stage: &Stage) -> Vec<tidings::Webhook> {
    let all = PageRequest::first(100).unwrap();
    let page = stage.faulty.inner.webhooks(&WebhookQuery::default(), &all).await;
    page.unwrap().items
}

/// Drops publishes of one and of three events after 0, 1, 2, … polls, publishes them again, and
/// delivers everything.
#[tokio::test(start_paused = true)]
async fn a_publish_can_be_dropped_anywhere() {
    let stage = Stage::new(|_| FINE);
    stage.webhook("a").await;
    slow(&stage);
    let run = stage.start(quiet());
    let (mut dropped, mut finished, mut new) = (0, 0, 0);
    for polls in 0..POLLS {
        let events = [(); 3].map(|()| stage.event("order.paid"));
        let (one, several) = (&events[..1], &events[1..]);
        for events in [one, several] {
            match poll_times(stage.tidings.publish_all(events), polls).await {
                None => dropped += 1,
                Some(published) => {
                    finished += 1;
                    new += published.unwrap().iter().filter(|published| published.new).count();
                }
            }
            let again = stage.tidings.publish_all(events).await.unwrap();
            let again: HashSet<_> = again.iter().map(|published| published.new).collect();
            assert_eq!(again.len(), 1, "all or none were kept");
        }
    }
    assert!(dropped > 0 && finished > 0 && new > 0);
    stage.until_ended(3 * POLLS).await;
    run.stop().await;
    stage.assert_delivered_once(3 * POLLS).await;
}

/// Drops every change of webhooks after 0, 1, 2, … polls, looks at what is stored, and asks again.
#[tokio::test(start_paused = true)]
async fn changes_of_webhooks_can_be_dropped_anywhere() {
    let stage = Stage::new(|_| FINE);
    let typed = Confirmation::new("ada", "ada");
    let handle = &stage.tidings;
    for polls in 0..POLLS {
        slow(&stage);
        let before = webhooks(&stage).await.len();
        let created = poll_times(handle.create(registration("a")), polls).await.is_some();
        let after = webhooks(&stage).await.len() - before;
        assert!(after <= 1 && (after == 1 || !created));
        let webhook = stage.webhook("b").await;
        let id = webhook.id();

        let edit = || Edit::new().description("new").timeout(Some(seconds(3)));
        poll_times(handle.edit(id, None, edit()), polls).await;
        let stored = handle.webhook(id).await.unwrap();
        let (old, new) = ((1, "", None), (2, "new", Some(seconds(3))));
        let present = (stored.version(), stored.description(), stored.timeout());
        assert!(present == old || present == new, "{present:?}");
        assert_eq!(handle.edit(id, None, edit()).await.unwrap().version(), 2);

        poll_times(handle.disable(id, &typed), polls).await;
        let version = handle.disable(id, &typed).await.unwrap().version();
        poll_times(handle.enable(id), polls).await;
        let enabled = handle.enable(id).await.unwrap();
        assert_eq!((version, enabled.version()), (3, 4));
        assert_eq!(enabled.status(), Status::Enabled);

        let rotated = poll_times(handle.rotate(id, Overlap::default(), &typed), polls).await;
        let secrets = handle.reveal(id, &typed).await.unwrap();
        let count = secrets.parts().count();
        assert!(count == 2 || (count == 1 && rotated.is_none()));

        let deleted = poll_times(handle.delete(id), polls).await;
        let gone = webhooks(&stage).await.iter().all(|webhook| webhook.id() != id);
        assert!(gone || deleted.is_none());
        assert_eq!(handle.delete(id).await.is_ok(), !gone);
        for webhook in webhooks(&stage).await {
            handle.delete(webhook.id()).await.unwrap();
        }
    }
}

/// Drops redeliveries and test events after 0, 1, 2, … polls: each makes one delivery or none, and
/// what was made is delivered once.
#[tokio::test(start_paused = true)]
async fn redeliveries_and_test_events_can_be_dropped_anywhere() {
    let stage = Stage::new(|_| FINE);
    let webhook = stage.webhook("a").await;
    let run = stage.start(quiet().poll(millis(250)));
    stage.publish(1).await;
    stage.until_ended(1).await;
    let first = stage.only().await.delivery.id;
    slow(&stage);
    let mut made = 1;
    for polls in 0..POLLS {
        let redelivered = poll_times(stage.tidings.redeliver(first), polls).await;
        let now = stage.deliveries(&[]).await.len();
        assert!(now - made <= 1 && (now > made || redelivered.is_none()));
        made = now;
        let tested = poll_times(stage.tidings.send_test(webhook.id()), polls).await;
        let now = stage.deliveries(&[]).await.len();
        assert!(now - made <= 1 && (now > made || tested.is_none()));
        made = now;
    }
    assert!(made > 2 && made < 2 * POLLS, "some happened, some did not: {made}");
    stage.until_ended(made).await;
    run.stop().await;
    assert_eq!(stage.receivers.hits().len(), made);
}

/// Drops the dispatcher itself after 0, 1, 2, … polls of its run, with work of every kind, and
/// lets another one finish: nothing is lost, and what was acknowledged before the drop is sent
/// again only if it was not yet settled.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_can_be_dropped_anywhere() {
    for polls in 0..120 {
        let stage = Stage::new(|hit| match hit.nth {
            1 if hit.host == "b" => Answer::Status(503),
            _ => Answer::Slow(millis(1), 200),
        });
        stage.webhook("a").await;
        stage.webhook("b").await;
        stage.publish(6).await;
        stage.plan(|_, _| Fault::Yield(2));
        let options = || quiet().in_flight(4).lease(seconds(3)).poll(millis(250));
        let transport = stage.receivers.clone();
        let dispatcher = stage.tidings.dispatcher_with(transport, options()).unwrap();
        poll_slowly(dispatcher.run(std::future::pending()), polls).await;
        // The tasks of the POSTs end at the runtime's next turn.
        tokio::task::yield_now().await;
        assert_eq!(stage.receivers.open(), 0, "nothing goes on");
        let acknowledged = stage.receivers.hits().len();
        let settled = stage.notices.settled();
        let run = stage.start(options());
        stage.until_all_ended(12).await;
        run.stop().await;
        let all = stage.deliveries(&[]).await;
        assert_eq!(all.len(), 12);
        for view in &all {
            assert_eq!(view.delivery.state.kind(), tidings::StateKind::Delivered);
            assert!(view.delivery.interruptions <= 1);
        }
        // Six to each; six first tries of "b" fail.
        let twice = stage.receivers.hits().len() - 18;
        assert!(twice <= acknowledged - settled, "{polls}: {twice}");
    }
}

/// As [`poll_times`], but polls only when the future is woken: time passes between.
async fn poll_slowly(future: impl Future<Output = ()>, times: usize) {
    let mut future = Box::pin(future);
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context)
    })
    .await;
}
