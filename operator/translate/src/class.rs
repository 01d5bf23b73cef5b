//! GatewayClasses and IngressClasses: which Gateways and Ingresses are ours.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::Ingress;

use crate::inputs::{ASSUMED_CLASS, AssumedClasses, Inputs, Kind};
use crate::output::Output;
use crate::verdict::{Force, Problem, Reason, Verdict};

const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";
const OLD_CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Names of the classes that are ours.
#[derive(Debug, Default)]
pub(crate) struct Classes<'a> {
    gateway: BTreeSet<&'a str>,
    ingress: BTreeSet<&'a str>,
    /// One of ours is the default of the cluster.
    ingress_default: bool,
}

/// Judges the classes.
pub(crate) fn lower<'a>(inputs: &'a Inputs, out: &mut Output) -> Classes<'a> {
    let mut classes = Classes::default();
    match inputs.options.assumed_classes {
        AssumedClasses::None => {}
        AssumedClasses::Headgate => {
            classes.gateway.insert(ASSUMED_CLASS);
            classes.ingress.insert(ASSUMED_CLASS);
        }
    }
    for (key, class) in &inputs.gateway_classes {
        let mut verdict = Verdict { generation: class.metadata.generation.unwrap_or(0), ..Verdict::default() };
        if class.spec.controller_name == inputs.options.gateway_controller {
            classes.gateway.insert(&key.name);
            if class.spec.parameters_ref.is_some() {
                verdict.problems.push(Problem::new(
                    Reason::InvalidParameters,
                    "spec.parametersRef",
                    "headgate has no parameters of classes; remove the field",
                ));
            }
        } else {
            classes.gateway.remove(key.name.as_str());
            verdict.force = Force::Foreign;
        }
        out.judge(Kind::GatewayClass, key, verdict);
    }
    for (key, class) in &inputs.ingress_classes {
        let mut verdict = Verdict { generation: class.metadata.generation.unwrap_or(0), ..Verdict::default() };
        let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_ref());
        if controller == Some(&inputs.options.ingress_controller) {
            classes.ingress.insert(&key.name);
            let annotations = class.metadata.annotations.as_ref();
            classes.ingress_default |=
                annotations.and_then(|all| all.get(DEFAULT_CLASS_ANNOTATION)).is_some_and(|value| value == "true");
        } else {
            classes.ingress.remove(key.name.as_str());
            verdict.force = Force::Foreign;
        }
        out.judge(Kind::IngressClass, key, verdict);
    }
    classes
}

impl Classes<'_> {
    /// Whether Gateways of this class are ours.
    pub(crate) fn govern_gateways_of(&self, class: &str) -> bool {
        self.gateway.contains(class)
    }

    /// Whether an Ingress is ours: by its class, by the annotation that was there before, or by default.
    pub(crate) fn govern_ingress(&self, ingress: &Ingress) -> bool {
        let written = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
        let annotations = ingress.metadata.annotations.as_ref();
        match written.or_else(|| annotations.and_then(|all| all.get(OLD_CLASS_ANNOTATION))) {
            Some(class) => self.ingress.contains(class.as_str()),
            None => self.ingress_default,
        }
    }
}
