#include "forwarder/ipvs/socket.hpp"

#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <netlink/socket.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace lbcluster::forward::ipvs {

namespace {

// Steps in one system call; their failures must fit into the receive buffer before we read.
constexpr std::size_t window = 128;
constexpr std::size_t receive_bytes = 65536;
constexpr int receive_buffer_bytes = 1 << 20;
constexpr timeval answer_within{5, 0};

// The kernel's own words are few; this is what they mean here.
std::string reason_of(int code, const Step* step) {
    const bool service =
        step != nullptr && (step->kind == Step::Kind::add_service || step->kind == Step::Kind::set_service);
    if (code == ENOENT && service) return "the kernel has no scheduler '" + step->settings.scheduler + "'";
    if (code == ESRCH) return "the kernel has no such service";
    if (code == EINVAL && step != nullptr && step->kind == Step::Kind::add_destination) {
        return "the kernel refuses the address (is it one that a server can have?)";
    }
    return std::strerror(code);
}

Error kernel_error(const std::string& what, int code, const Step* step = nullptr) {
    return Error{what + ": " + reason_of(code, step), code == EPERM ? "forwarderd needs CAP_NET_ADMIN" : "", code};
}

// What was asked for is so.
bool is_done(const Step& step, int code) {
    switch (step.kind) {
        case Step::Kind::add_service:
        case Step::Kind::add_destination:
            return code == EEXIST;
        case Step::Kind::delete_destination:
        case Step::Kind::delete_service:
            return code == ENOENT || code == ESRCH;
        default:
            return false;
    }
}

// The kernel's code of an NLMSG_ERROR or NLMSG_DONE message; 0 is success.
int error_code(nlmsghdr* message) {
    int code = 0;
    if (nlmsg_datalen(message) < static_cast<int>(sizeof(code))) return message->nlmsg_type == NLMSG_DONE ? 0 : EBADMSG;
    std::memcpy(&code, nlmsg_data(message), sizeof(code));
    return -code;
}

Result<std::uint16_t> resolve_family() {
    const std::unique_ptr<nl_sock, void (*)(nl_sock*)> socket(nl_socket_alloc(), nl_socket_free);
    if (!socket) return Error{"no memory for a netlink socket", "", ENOMEM};
    if (const int error = genl_connect(socket.get()); error < 0) {
        return Error{std::string("cannot open a generic netlink socket: ") + nl_geterror(error), "", EIO};
    }
    const int family = genl_ctrl_resolve(socket.get(), "IPVS");
    if (family == -NLE_OBJ_NOTFOUND) return Error{"this kernel has no IPVS", "load its module: modprobe ip_vs", ENOENT};
    if (family < 0) return Error{std::string("cannot look for IPVS: ") + nl_geterror(family), "", EIO};
    return static_cast<std::uint16_t>(family);
}

// Older kernels do not load the module when its netlink family is asked for.
void load_module() {
    std::array<char*, 4> arguments{const_cast<char*>("modprobe"), const_cast<char*>("-q"), const_cast<char*>("ip_vs"),
                                   nullptr};
    std::array<char*, 1> environment{nullptr};
    pid_t pid = 0;
    if (::posix_spawn(&pid, "/sbin/modprobe", nullptr, nullptr, arguments.data(), environment.data()) != 0) return;
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace

Result<Socket> Socket::open() {
    static bool asked = false;
    auto family = resolve_family();
    if (!family && family.error().code == ENOENT && !std::exchange(asked, true)) {
        load_module();
        family = resolve_family();
    }
    if (!family) return family.error();
    const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    if (fd < 0) return kernel_error("cannot open a netlink socket", errno);
    Socket out(fd, *family);
    out.buffer_.resize(receive_bytes);
    const int on = 1;
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_within, sizeof(answer_within)) != 0 ||
        ::setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) != 0 ||
        ::bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof(local)) != 0) {
        return kernel_error("cannot set up a netlink socket", errno);
    }
    if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer_bytes, sizeof(receive_buffer_bytes)) != 0) {
        (void)::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(receive_buffer_bytes));
    }
    return out;
}

Socket::Socket(Socket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      family_(other.family_),
      sequence_(other.sequence_),
      buffer_(std::move(other.buffer_)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(family_, other.family_);
    std::swap(sequence_, other.sequence_);
    std::swap(buffer_, other.buffer_);
    return *this;
}

Socket::~Socket() {
    if (fd_ >= 0) ::close(fd_);
}

Result<void> Socket::exchange(const Bytes& request, std::uint32_t first, std::size_t count, const Handler& answer,
                              const std::function<void(std::size_t, int)>& failed) {
    if (::send(fd_, request.data(), request.size(), 0) < 0) return kernel_error("cannot ask the kernel", errno);
    while (true) {
        sockaddr_nl from{};
        socklen_t from_bytes = sizeof(from);
        const ssize_t bytes =
            ::recvfrom(fd_, buffer_.data(), buffer_.size(), MSG_TRUNC, reinterpret_cast<sockaddr*>(&from), &from_bytes);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0) return kernel_error("cannot read the kernel's answer", errno == EAGAIN ? ETIMEDOUT : errno);
        if (bytes > static_cast<ssize_t>(buffer_.size())) return kernel_error("the kernel's answer", EMSGSIZE);
        if (from.nl_pid != 0) continue;
        int left = static_cast<int>(bytes);
        for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); nlmsg_ok(message, left) != 0;
             message = nlmsg_next(message, &left)) {
            const std::uint32_t index = message->nlmsg_seq - first;
            if (index >= count) continue;  // left over from a request that ran out of time
            if (message->nlmsg_type != NLMSG_ERROR && message->nlmsg_type != NLMSG_DONE) {
                answer(message);
                continue;
            }
            const int code = error_code(message);
            if (code != 0) failed(index, code);
            if (index + 1 == count) return {};
        }
    }
}

Result<void> Socket::ask(const std::string& what, const Bytes& request, const Handler& answer) {
    int code = 0;
    const auto done = exchange(request, sequence_, 1, answer, [&](std::size_t, int error) { code = error; });
    if (!done) return Error{what + ": " + done.error().message, done.error().hint, done.error().code};
    if (code != 0) return kernel_error(what, code);
    return {};
}

Result<std::string> Socket::version() {
    Bytes request;
    append_get_info(request, next(true));
    std::string version;
    const auto done = ask("cannot ask for IPVS' version", request, [&](nlmsghdr* message) {
        if (auto text = parse_version(message)) version = std::move(*text);
    });
    if (!done) return done.error();
    return version;
}

Result<Reading> Socket::read(const std::set<ServiceKey>& which) {
    Reading out;
    Bytes request;
    append_dump_services(request, next(false));
    auto done = ask("cannot read the kernel's services", request, [&](nlmsghdr* message) {
        auto entry = parse_service(message);
        if (!entry) return;
        out.table[entry->key].settings = std::move(entry->settings);
        if (which.contains(entry->key)) out.counters[entry->key].total = entry->counters;
    });
    if (!done) return done.error();
    for (auto& [key, service] : out.table) {
        if (!which.contains(key)) continue;
        ServiceCounters& counters = out.counters[key];
        request.clear();
        append_dump_destinations(request, next(false), key);
        done = ask("cannot read the servers of " + key.to_string(), request, [&](nlmsghdr* message) {
            const auto entry = parse_destination(message);
            if (!entry) return;
            service.destinations.push_back(entry->destination);
            counters.servers[entry->destination.key] = entry->counters;
            counters.total.active += entry->counters.active;
            counters.total.inactive += entry->counters.inactive;
            counters.total.persistent += entry->counters.persistent;
        });
        if (!done && done.error().code != ESRCH) return done.error();  // gone meanwhile: the next reading shows it
        std::sort(service.destinations.begin(), service.destinations.end(),
                  [](const Destination& a, const Destination& b) { return a.key < b.key; });
    }
    return out;
}

std::vector<Result<void>> Socket::carry_out(std::span<const Step> steps) {
    std::vector<Result<void>> results(steps.size());
    for (std::size_t at = 0; at < steps.size(); at += window) {
        const std::size_t count = std::min(window, steps.size() - at);
        const auto sent = carry_out_some(steps.subspan(at, count), std::span(results).subspan(at, count));
        if (sent) continue;
        for (std::size_t i = at; i < steps.size(); ++i) results[i] = sent.error();
        break;
    }
    return results;
}

Result<void> Socket::carry_out_some(std::span<const Step> steps, std::span<Result<void>> results) {
    Bytes request;
    request.reserve(steps.size() * 160);
    const std::uint32_t first = sequence_ + 1;
    for (const Step& step : steps) append_step(request, next(&step == &steps.back()), step);
    // A failure is told also where no acknowledgement was asked for: the answer to the last one is the last answer.
    return exchange(
        request, first, steps.size(), [](nlmsghdr*) {},
        [&](std::size_t index, int code) {
            if (!is_done(steps[index], code)) {
                results[index] = kernel_error("cannot " + steps[index].to_string(), code, &steps[index]);
            }
        });
}

Result<std::vector<Sync>> Socket::syncs() {
    std::vector<Sync> out;
    Bytes request;
    append_dump_daemons(request, next(false));
    const auto done = ask("cannot read the connection sync", request, [&](nlmsghdr* message) {
        if (auto sync = parse_daemon(message)) out.push_back(std::move(*sync));
    });
    if (!done) return done.error();
    return out;
}

Result<void> Socket::start_sync(const Sync& sync) {
    Bytes request;
    append_daemon(request, next(true), sync, true);
    return ask("cannot start the connection sync on " + sync.interface, request, [](nlmsghdr*) {});
}

Result<void> Socket::stop_sync(const Sync& sync) {
    Bytes request;
    append_daemon(request, next(true), sync, false);
    return ask("cannot stop the connection sync", request, [](nlmsghdr*) {});
}

Result<Timeouts> Socket::timeouts() {
    Bytes request;
    append_get_timeouts(request, next(true));
    Timeouts out;
    const auto done = ask("cannot read the timeouts", request, [&](nlmsghdr* message) {
        if (const auto timeouts = parse_timeouts(message)) out = *timeouts;
    });
    if (!done) return done.error();
    return out;
}

Result<void> Socket::set_timeouts(const Timeouts& timeouts) {
    Bytes request;
    append_set_timeouts(request, next(true), timeouts);
    return ask("cannot set the timeouts", request, [](nlmsghdr*) {});
}

}  // namespace lbcluster::forward::ipvs
