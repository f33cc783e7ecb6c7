#include "forwarder/linux_kernel.hpp"

#include <cerrno>

#include "forwarder/sysctl.hpp"

namespace lbcluster::forward {

namespace {

const Error no_ipvs{"this kernel has no IPVS", "", ENOENT};

}  // namespace

Result<std::string> LinuxKernel::ipvs() {
    if (!socket_) {
        auto opened = ipvs::Socket::open();
        if (!opened) return opened.error();
        socket_.emplace(std::move(opened).value());
    }
    auto version = socket_->version();
    if (!version) socket_.reset();  // the module may have gone, and come back with another number
    return version;
}

Result<Reading> LinuxKernel::read(const std::set<ServiceKey>& which) {
    if (!socket_) return no_ipvs;
    return socket_->read(which);
}

std::vector<Result<void>> LinuxKernel::carry_out(std::span<const Step> steps) {
    if (!socket_) return std::vector<Result<void>>(steps.size(), no_ipvs);
    return socket_->carry_out(steps);
}

Result<std::vector<Sync>> LinuxKernel::syncs() {
    if (!socket_) return no_ipvs;
    return socket_->syncs();
}

Result<void> LinuxKernel::start_sync(const Sync& sync) {
    if (!socket_) return no_ipvs;
    return socket_->start_sync(sync);
}

Result<void> LinuxKernel::stop_sync(const Sync& sync) {
    if (!socket_) return no_ipvs;
    return socket_->stop_sync(sync);
}

Result<Timeouts> LinuxKernel::timeouts() {
    if (!socket_) return no_ipvs;
    return socket_->timeouts();
}

Result<void> LinuxKernel::set_timeouts(const Timeouts& timeouts) {
    if (!socket_) return no_ipvs;
    return socket_->set_timeouts(timeouts);
}

Result<std::string> LinuxKernel::sysctl(const std::string& name) { return read_sysctl(name); }

Result<void> LinuxKernel::set_sysctl(const std::string& name, const std::string& value) {
    return write_sysctl(name, value);
}

}  // namespace lbcluster::forward
