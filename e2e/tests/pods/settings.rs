//! What the environment says about the Kubernetes that is tested on.

use std::env;

/// Images that its machines have, or can get: `REPOSITORY/node:TAG` and so on.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    /// What stands before `/node`.
    pub(crate) repository: String,
    /// The tag.
    pub(crate) tag: String,
}

impl Images {
    fn of(text: &str) -> Self {
        let (repository, tag) = text.rsplit_once(':').unwrap_or_else(|| {
            panic!("ROOKERY_E2E_IMAGES: {text} must be REPOSITORY:TAG, like rookery:0.1.0")
        });
        Self { repository: repository.to_owned(), tag: tag.to_owned() }
    }

    /// `REPOSITORY:TAG`.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// All of it.
pub(crate) struct Settings {
    /// What is installed first.
    pub(crate) images: Images,
    /// What is upgraded to.
    pub(crate) next: Images,
    /// Where the ingress controller answers.
    pub(crate) ingress: String,
    /// Parts of the names of the only steps that are done.
    steps: Vec<String>,
}

impl Settings {
    /// `None`: the environment names no Kubernetes.
    pub(crate) fn from_environment() -> Option<Self> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        set("KUBECONFIG")?;
        let images = set("ROOKERY_E2E_IMAGES")?;
        let all: Vec<_> = images.split_whitespace().map(Images::of).collect();
        let [first, next] = all.as_slice() else {
            panic!("ROOKERY_E2E_IMAGES={images}: must name two, the second to upgrade to");
        };
        Some(Self {
            images: first.clone(),
            next: next.clone(),
            ingress: set("ROOKERY_E2E_INGRESS").unwrap_or_else(|| "http://localhost:8080".to_owned()),
            steps: set("ROOKERY_E2E_STEP").unwrap_or_default().split(',').map(str::to_owned).collect(),
        })
    }

    /// Whether that step is to be done.
    pub(crate) fn wants(&self, step: &str) -> bool {
        self.steps.iter().any(|part| step.contains(part))
    }

    /// The host by which the ingress controller is asked: what Ingress objects name.
    pub(crate) fn host(&self) -> &str {
        let authority = self.ingress.trim_start_matches("http://");
        authority.split(':').next().unwrap_or(authority)
    }
}
