#include "forwarder/release.hpp"

#include <boost/asio/io_context.hpp>

#include "forwarder/haproxy/program.hpp"
#include "forwarder/reconciler.hpp"
#include "lbcluster/bus/server.hpp"
#include "lbcluster/config/store.hpp"

namespace lbcluster::forward {

namespace {

constexpr milliseconds proxy_ends_within{5000};

// No service, no rules, no sysctls; sync that does not run, unlike none that is told.
Desired nothing() {
    Desired out;
    out.sync = Sync{};
    return out;
}

}  // namespace

std::vector<std::string> release(Kernel& kernel, const config::Paths& paths) {
    // Its lock keeps a forwarderd from starting meanwhile.
    boost::asio::io_context io{1};
    bus::Server place(io, {paths.socket_of("forwarderd"), "forwarderd", LBCLUSTER_VERSION});
    if (const auto listening = place.listen(); !listening) return {text_of(listening.error())};

    std::vector<std::string> out;
    // First HAProxy: its clients are told that it ends while the rules that bring them there still stand.
    if (const auto ended = end_proxy({paths.run_dir}, proxy_ends_within); !ended) out.push_back(text_of(ended.error()));
    const std::string path = owned_path(paths.run_dir);
    Reconciler reconciler(kernel, read_owned(path),
                          [&](const std::string& text) { return config::write_atomically(path, text, 0600); });
    const std::vector<std::string> left = faults(reconciler.reconcile(nothing()));
    out.insert(out.end(), left.begin(), left.end());
    return out;
}

}  // namespace lbcluster::forward
