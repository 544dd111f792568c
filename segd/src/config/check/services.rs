//! Named services. A name never looks like a literal, and a service is made of literals only.

use std::collections::BTreeMap;

use super::names::{first, literal, looks_literal, spelling};
use crate::config::findings::{Findings, quoted};
use crate::config::written::WrittenService;
use crate::policy::Service;

/// Checks all named services, in file order.
pub(super) fn check(written: &[WrittenService], findings: &mut Findings<'_>) -> Vec<(String, Vec<Service>)> {
    let mut seen = BTreeMap::new();
    let mut services = Vec::with_capacity(written.len());
    for service in written {
        if looks_literal(&service.name.value) {
            let message = format!("the service name {} looks like a service itself", quoted(&service.name.value));
            findings.fault(service.name.spot, message, "give it a name that is no protocol and has no slash");
        } else {
            spelling("service name", &service.name, "_-", findings);
        }
        let elements = elements(service, findings);
        if first("service", &service.name, &mut seen, findings) {
            services.push((service.name.value.clone(), elements));
        }
    }
    services
}

fn elements(service: &WrittenService, findings: &mut Findings<'_>) -> Vec<Service> {
    if service.elements.is_empty() {
        findings.fault(
            service.name.spot,
            format!("service {} is empty", quoted(&service.name.value)),
            "write [tcp/443], or remove the service",
        );
    }
    let mut parsed = Vec::with_capacity(service.elements.len());
    for word in &service.elements {
        if looks_literal(&word.value) {
            parsed.extend(literal(word, findings));
        } else {
            let message = format!("{} is not a protocol with its ports", quoted(&word.value));
            findings.fault(
                word.spot,
                message,
                "a named service is made of literals: write tcp/PORT, udp/PORT, icmp/TYPE and the like",
            );
        }
    }
    parsed
}
