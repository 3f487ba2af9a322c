//! What makes a database be looked at: a change of its resource or of anything that belongs to it, and time.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use skerry_api::{DATABASE_LABEL, DistributedDatabase};
use skerry_program::chain::chain;
use tokio::time::Instant;
use tracing::{Instrument, info_span, warn};

use crate::context::Context;
use crate::events;
use crate::reconcile::{ReconcileError, reconcile};

/// Pause after a reconciliation that failed.
const RETRY: Duration = Duration::from_secs(2);
/// Pause after a look at a resource that cannot be read. Its watch tells of its next change.
const UNREADABLE: Duration = Duration::from_secs(30);
/// Changes that come together are looked at together.
const GATHER: Duration = Duration::from_millis(100);
/// Databases that are looked at at once: one that does not answer holds nobody up.
const AT_ONCE: u16 = 64;

/// Looks after all databases of a namespace, or of all if it is empty. Ends only by being dropped.
pub async fn run(context: Arc<Context>, namespace: &str) {
    let client = &context.client.clone();
    // One object that cannot be read, of whatever kind, is a fault of its own, and not the end of the watch over all. Of what
    // belongs to a database only the metadata is read here: which database it is of, and which version.
    let databases: Api<DeserializeGuard<DistributedDatabase>> = everywhere(client, namespace);
    let ours = watcher::Config::default().labels(DATABASE_LABEL);
    let (sets, pods, claims) = (
        everywhere::<PartialObjectMeta<StatefulSet>>(client, namespace),
        everywhere::<PartialObjectMeta<Pod>>(client, namespace),
        everywhere::<PartialObjectMeta<PersistentVolumeClaim>>(client, namespace),
    );
    Controller::new(databases, watcher::Config::default())
        .with_config(kube::runtime::controller::Config::default().debounce(GATHER).concurrency(AT_ONCE))
        .watches(sets, ours.clone(), |set| database_of(&set))
        .watches(pods, ours.clone(), |pod| database_of(&pod))
        .watches(claims, ours.clone(), |claim| database_of(&claim))
        .watches(everywhere(client, namespace), ours.clone(), auxiliary::<Service>(&context))
        .watches(everywhere(client, namespace), ours.clone(), auxiliary::<ServiceAccount>(&context))
        .watches(everywhere(client, namespace), ours.clone(), auxiliary::<ConfigMap>(&context))
        .watches(everywhere(client, namespace), ours.clone(), auxiliary::<NetworkPolicy>(&context))
        .watches(everywhere(client, namespace), ours, auxiliary::<PodDisruptionBudget>(&context))
        .run(looked_at, failed, context)
        .for_each(|_| async {})
        .await;
}

fn everywhere<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match namespace {
        "" => Api::all(client.clone()),
        namespace => Api::namespaced(client.clone(), namespace),
    }
}

/// What stands beside the StatefulSets is written again once somebody else has changed or removed it.
fn auxiliary<K>(
    context: &Context,
) -> impl Fn(PartialObjectMeta<K>) -> Option<ObjectRef<DeserializeGuard<DistributedDatabase>>> + Send + Sync + 'static
where
    K: Resource<DynamicType = ()>,
{
    let written = Arc::clone(&context.written);
    move |object| {
        written.saw(&object);
        database_of(&object)
    }
}

fn database_of(object: &impl ResourceExt) -> Option<ObjectRef<DeserializeGuard<DistributedDatabase>>> {
    let name = object.labels().get(DATABASE_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

/// Looks after one database. One that cannot be read is told of, and counted, until it can.
///
/// # Errors
/// If the look ended early.
pub async fn looked_at(
    database: Arc<DeserializeGuard<DistributedDatabase>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let (name, namespace) = (database.name_any(), database.namespace().unwrap_or_default());
    let why = database.0.as_ref().err().map(ToString::to_string);
    let is_new = context.metrics.unreadable.note(&format!("{namespace}/{name}"), why.clone(), Instant::now());
    if let Some(why) = why {
        if is_new {
            events::warn_of(&context, &database.object_ref(&()), "Unreadable", why).await;
        }
        return Ok(Action::requeue(UNREADABLE));
    }
    let span = info_span!("database", %namespace, %name);
    let done = context.metrics.timed(reconcile(&namespace, &name, &context).instrument(span)).await;
    done.map(Action::requeue)
}

fn failed(
    database: Arc<DeserializeGuard<DistributedDatabase>>,
    error: &ReconcileError,
    _context: Arc<Context>,
) -> Action {
    let (name, namespace) = (database.name_any(), database.namespace().unwrap_or_default());
    warn!(namespace, name, error = chain(error), "database could not be looked after");
    Action::requeue(RETRY)
}
