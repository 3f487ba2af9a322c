//! What was written lately.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::{Resource, ResourceExt};
use tokio::time::Instant;

/// What somebody else has changed or removed meanwhile is put right after so long, should its watch not have told of it.
const AGAIN_AFTER: Duration = Duration::from_secs(300);
/// What was changed at once after it was written is left so for so long: whoever changes it may do so every time.
const AGAIN_SOON: Duration = Duration::from_secs(5);
/// Far more objects than one operator looks after; past it, everything is written once more.
const OBJECTS_MAX: usize = 100_000;

/// The last text written of each object.
#[derive(Debug, Default)]
pub struct Written {
    objects: Mutex<HashMap<String, Last>>,
    /// Objects that were found to be as wanted: in which version, and what was wanted.
    alike: Mutex<HashMap<String, (String, String)>>,
}

#[derive(Debug)]
struct Last {
    text: String,
    /// Resource version of the object after the write. `None` = it was removed.
    version: Option<String>,
    /// Somebody else has changed or removed it since.
    changed: bool,
    at: Instant,
}

impl Written {
    /// True if this text was written lately, and nobody has changed the object since, or it was written just now.
    pub fn is_fresh(&self, object: &str, text: &str) -> bool {
        self.is_fresh_for(object, text, AGAIN_AFTER)
    }

    /// The same of an object that no watch tells of, which is looked at again after `again_after`.
    pub fn is_fresh_for(&self, object: &str, text: &str, again_after: Duration) -> bool {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let until = |last: &Last| if last.changed { AGAIN_SOON } else { again_after };
        objects.get(object).is_some_and(|last| last.text == text && last.at.elapsed() < until(last))
    }

    /// Resource version of the object after the last write.
    pub fn version(&self, object: &str) -> Option<String> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(object).and_then(|last| last.version.clone())
    }

    /// True if the object is as wanted, which is looked at once for each version of it and each text that is wanted.
    pub fn is_alike(&self, object: &str, version: &str, text: &str, look: impl FnOnce() -> bool) -> bool {
        let mut alike = self.alike.lock().unwrap_or_else(PoisonError::into_inner);
        if alike.get(object).is_some_and(|(known, wanted)| known == version && wanted == text) {
            return true;
        }
        let is_alike = look();
        if alike.len() >= OBJECTS_MAX {
            alike.clear();
        }
        if is_alike && !version.is_empty() {
            alike.insert(object.to_owned(), (version.to_owned(), text.to_owned()));
        }
        is_alike
    }

    /// It is written, and has this version now.
    pub fn note(&self, object: String, text: String, version: Option<String>) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if objects.len() >= OBJECTS_MAX {
            objects.clear();
        }
        objects.insert(object, Last { text, version, changed: false, at: Instant::now() });
    }

    /// The object was seen, or seen to go. Unless it is as it was written, it is to be written again.
    pub fn saw<K>(&self, object: &K)
    where
        K: Resource<DynamicType = ()>,
    {
        let key = key(object);
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = objects.get_mut(&key) {
            last.changed |= last.version != object.resource_version();
        }
    }
}

/// The object's kind, namespace and name, parted by `/`.
pub(super) fn key<K>(object: &K) -> String
where
    K: Resource<DynamicType = ()>,
{
    format!("{}/{}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(version: &str) -> ConfigMap {
        let (name, namespace) = (Some("shop".to_owned()), Some("here".to_owned()));
        let resource_version = Some(version.to_owned());
        ConfigMap {
            metadata: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() },
            ..ConfigMap::default()
        }
    }

    #[test]
    fn an_object_is_compared_once_for_each_version_and_each_text() {
        let written = Written::default();
        let looked = |version: &str, text: &str, is_alike: bool| {
            let mut looks = 0;
            let told = written.is_alike("uid", version, text, || {
                looks += 1;
                is_alike
            });
            (told, looks)
        };
        assert_eq!(looked("7", "text", false), (false, 1));
        assert_eq!(looked("7", "text", true), (true, 1), "what differed is looked at again");
        assert_eq!(looked("7", "text", false), (true, 0));
        assert_eq!(looked("8", "text", false), (false, 1));
        assert_eq!(looked("7", "other", true), (true, 1));
        assert_eq!(looked("", "text", true), (true, 1));
        assert_eq!(looked("", "text", false), (false, 1), "a version that is not known is no version");
    }

    #[test]
    fn what_somebody_else_has_changed_or_removed_is_written_again_but_not_in_a_loop() {
        let written = Written::default();
        let name = key(&object("7"));
        written.note(name.clone(), "text".to_owned(), Some("7".to_owned()));
        written.saw(&object("7"));
        assert!(written.is_fresh(&name, "text") && !written.is_fresh(&name, "other"));
        // The word of its removal carries a later version.
        written.saw(&object("8"));
        assert!(written.is_fresh(&name, "text"), "two that want it otherwise would write as fast as they can");
        let pass = || written.objects.lock().unwrap().values_mut().for_each(|last| last.at -= AGAIN_SOON);
        pass();
        assert!(!written.is_fresh(&name, "text"));
        written.note(name.clone(), "text".to_owned(), Some("9".to_owned()));
        pass();
        written.saw(&object("9"));
        assert!(written.is_fresh(&name, "text"));
        // What no watch tells of is looked at again sooner.
        assert!(!written.is_fresh_for(&name, "text", AGAIN_SOON));
        written.saw(&object("10"));
        assert!(!written.is_fresh(&name, "text"));
    }
}
