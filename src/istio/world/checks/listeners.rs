//! Listeners of the Sidecar that do not fit the Proxy.

use super::Checks;
use crate::istio::model::Withhold;
use crate::istio::model::sidecar::{Capture, Sidecar};
use crate::istio::reader::not_enforced_in;

impl Checks<'_> {
    /// An unknown egress proxy, and listeners that wait for redirected connections. True if `--permissive` leaves out a
    /// field that restricts the Sidecar.
    pub(super) fn listeners(&mut self) -> bool {
        let world = self.world;
        let mut gaps = false;
        let Some(sidecar) = &world.sidecar else { return gaps };
        if let Some(to) = &sidecar.egress_proxy
            && world.services.get(&to.host).is_none()
            && to.is_known()
            && self.knows_all_services()
        {
            let what =
                format!("there is no service \"{}\": requests to undeclared hosts get 503 NC [IST0101]", to.host);
            let instead = self.service_hint(&to.host);
            let path = "spec.outboundTrafficPolicy.egressProxy.host";
            self.problems.push(sidecar.meta.source.warning(path, what, instead));
        }
        let redirected = world.proxy.mesh_listen.is_some();
        for (egress, ..) in world.egress_ports().filter(|(.., bound)| !bound) {
            let path = |field: &str| format!("spec.egress[{}].{field}", egress.index);
            if egress.capture == Capture::Redirected && !redirected {
                let what = "nothing is redirected to a proxy without spec.mesh.listen, so this listener has no effect";
                let instead = "write \"captureMode: NONE\" to have it bound, or spec.mesh.listen";
                self.problems.push(sidecar.meta.source.warning(&path("captureMode"), what, instead));
            }
            if redirected && egress.bind.is_some_and(|ip| !ip.is_unspecified()) {
                let (severity, instead) = not_enforced_in("Sidecar", self.permissive);
                let what = "\"bind\" of a listener to which connections are redirected is not enforced by ringway yet";
                let instead = format!("{instead}; with \"captureMode: NONE\" the listener is bound there");
                self.problems.push(sidecar.meta.source.problem(severity, &path("bind"), what.to_owned(), instead));
                // Its hosts would be seen at every address.
                gaps |= self.permissive;
            }
        }
        if gaps {
            let what = format!("{}, since not all of it is enforced", Sidecar::CONSEQUENCE);
            self.problems.push(sidecar.meta.source.warning("", what, ""));
        }
        gaps
    }
}
