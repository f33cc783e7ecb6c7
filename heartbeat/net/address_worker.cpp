#include "heartbeat/net/address_worker.hpp"

#include <pthread.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <map>
#include <utility>

#include "heartbeat/net/address_keeper.hpp"

namespace lbcluster::heartbeat {

Result<std::vector<KernelAddress>> scan_own_addresses(net::Netlink& netlink,
                                                      const std::vector<KernelAddress>& configured) {
    const auto links = netlink.links();
    if (!links) return links.error();
    const auto addresses = netlink.addresses();
    if (!addresses) return addresses.error();
    std::map<int, std::string> names;
    for (const auto& link : *links) names[link.index] = link.name;
    std::vector<KernelAddress> out;
    for (const auto& address : *addresses) {
        KernelAddress key{address.prefix, names[address.ifindex]};
        if (is_marked_ours(address) && std::find(configured.begin(), configured.end(), key) != configured.end())
            out.push_back(std::move(key));
    }
    return out;
}

AddressWorker::AddressWorker() : io_(std::make_unique<boost::asio::io_context>(1)) {}

Result<std::unique_ptr<AddressWorker>> AddressWorker::start(boost::asio::io_context& daemon_io, WorkerOptions options,
                                                            std::function<void(const KernelReport&)> on_report) {
    std::unique_ptr<AddressWorker> worker(new AddressWorker());
    worker->on_report_ = std::make_shared<std::function<void(const KernelReport&)>>(std::move(on_report));
    const std::weak_ptr<std::function<void(const KernelReport&)>> receiver = worker->on_report_;
    auto keeper = AddressKeeper::create(*worker->io_, std::move(options), [&daemon_io, receiver](KernelReport report) {
        boost::asio::post(daemon_io, [receiver, report = std::move(report)] {
            if (const auto alive = receiver.lock()) (*alive)(report);
        });
    });
    if (!keeper) return keeper.error();
    worker->keeper_ = std::move(keeper).value();
    worker->thread_ = std::thread([io = worker->io_.get()] {
        ::pthread_setname_np(::pthread_self(), "hb-addresses");
        const auto guard = boost::asio::make_work_guard(*io);
        io->run();
    });
    return worker;
}

AddressWorker::~AddressWorker() {
    io_->stop();
    if (thread_.joinable()) thread_.join();
    keeper_.reset();
}

void AddressWorker::set_target(AddressTarget target) {
    boost::asio::post(*io_, [this, target = std::move(target)]() mutable { keeper_->set_target(std::move(target)); });
}

void AddressWorker::permit(Instant until) { keeper_->permit(until); }

void AddressWorker::restrain(Restraint restraint) {
    keeper_->sender().mute(restraint.announce_nothing);
    boost::asio::post(*io_, [this, restraint] { keeper_->restrain(restraint); });
}

void AddressWorker::announce(bool paced) {
    boost::asio::post(*io_, [this, paced] { keeper_->announce_all(paced); });
}

void AddressWorker::set_options(WorkerOptions options) {
    boost::asio::post(*io_,
                      [this, options = std::move(options)]() mutable { keeper_->set_options(std::move(options)); });
}

std::vector<std::thread::native_handle_type> AddressWorker::native_handles() {
    return {thread_.native_handle(), keeper_->sender().native_handle()};
}

std::uint32_t AddressWorker::netlink_port() const { return keeper_->port(); }

void AddressWorker::resync() {
    boost::asio::post(*io_, [this] { keeper_->resync(); });
}

}  // namespace lbcluster::heartbeat
