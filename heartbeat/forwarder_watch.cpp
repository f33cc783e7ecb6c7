#include "heartbeat/forwarder_watch.hpp"

#include <utility>

namespace lbcluster::heartbeat {

ForwarderWatch::ForwarderWatch(boost::asio::io_context& io, std::string socket, std::function<void()> changed)
    : client_(io, {std::move(socket), "heartbeatd", LBCLUSTER_VERSION, "forward"}), changed_(std::move(changed)) {
    client_.on_snapshot([this](const bus::Client::State& state) {
        if (const auto found = state.find("forward"); found != state.end()) take(found->second.forward());
        changed_();
    });
    client_.on_update([this](const std::vector<bus::Item>& items) {
        for (const bus::Item& item : items) {
            if (item.key() == "forward" && !item.removed()) take(item.forward());
        }
    });
    client_.on_lost([this](const Error&) { changed_(); });
}

void ForwarderWatch::start() {
    client_.start();
    changed_();
}

void ForwarderWatch::take(const bus::ForwardStatus& status) {
    known_ = true;
    if (std::exchange(able_, status.failed() + status.proxy().failed() == 0) != able_) changed_();
}

}  // namespace lbcluster::heartbeat
