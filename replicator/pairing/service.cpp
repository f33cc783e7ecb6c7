#include "replicator/pairing/service.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <memory>
#include <optional>

#include "lbcluster/bus/request.hpp"
#include "replicator/core/pairing.hpp"
#include "replicator/pairing/local.hpp"
#include "replicator/pairing/node_text.hpp"
#include "replicator/pairing/ports.hpp"
#include "replicator/parcel.hpp"
#include "replicator/ssh/key_pair.hpp"

namespace lbcluster::replicator {

namespace {

// A person may be looking at a question between two calls.
constexpr auto asker_patience = 60s;

using Answer = Result<replica::Frame>;

// On the thread of files; back on that of the io_context with what it returned.
boost::asio::awaitable<Answer> on_files(boost::asio::thread_pool& files, std::function<Answer()> work) {
    const auto task = [](std::function<Answer()> inner) -> boost::asio::awaitable<std::optional<Answer>> {
        co_return inner();
    };
    auto done = co_await boost::asio::co_spawn(files, task(std::move(work)), boost::asio::use_awaitable);
    co_return std::move(*done);
}

std::uint32_t exit_code_of(const Error& error) {
    switch (error.code) {
        case EINVAL:
            return 3;
        case EPERM:
        case EPROTONOSUPPORT:
            return 5;
        case ETIMEDOUT:
            return 6;
        default:
            return 1;
    }
}

}  // namespace

// One stream: what the calls so far have brought.
class PairingService::Call {
  public:
    Call(boost::asio::thread_pool& files, const config::Paths& paths) : files_(files), paths_(paths) {}
    ~Call() {
        if (ports_) ports_->close();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    boost::asio::awaitable<Answer> answer(const replica::Frame& asked);
    // A line for the history, if the last answer has changed whom this node is paired with.
    std::string take_change() { return std::exchange(change_, ""); }

  private:
    Answer begin(const replica::PairBegin& asked);
    boost::asio::awaitable<Answer> open_ports(const replica::PairPorts& asked);
    boost::asio::awaitable<Answer> try_ports();
    Answer prepare(const replica::PairPrepare& asked);
    Answer commit();
    Answer check();
    Answer end(const replica::Unpair& asked);
    Answer set_keys(const replica::SetKeys& asked);
    Result<NodePlan> plan_of(const replica::PairPrepare& asked, const replica::PairBundle& bundle);

    boost::asio::thread_pool& files_;
    const config::Paths& paths_;
    std::optional<replica::PairBegin> begun_;
    std::shared_ptr<Ports> ports_;
    std::optional<NodePlan> plan_;
    std::string change_;
};

boost::asio::awaitable<Answer> PairingService::Call::answer(const replica::Frame& asked) {
    const bool needs_begin = asked.has_pair_ports() || asked.has_pair_ports_try() || asked.has_pair_prepare();
    if ((needs_begin && !begun_) || (asked.has_pair_commit() && !plan_) || (asked.has_pair_ports_try() && !ports_)) {
        co_return Error{"the calls of the pairing came in the wrong order", "is the peer's lbcluster of this version?",
                        EPROTO};
    }
    if (asked.has_pair_ports()) co_return co_await open_ports(asked.pair_ports());
    if (asked.has_pair_ports_try()) co_return co_await try_ports();
    const std::function<Answer()> work = [this, &asked]() -> Answer {
        switch (asked.body_case()) {
            case replica::Frame::kPairBegin:
                return begin(asked.pair_begin());
            case replica::Frame::kPairPrepare:
                return prepare(asked.pair_prepare());
            case replica::Frame::kPairCommit:
                return commit();
            case replica::Frame::kPairCheck:
                return check();
            case replica::Frame::kSetKeys:
                return set_keys(asked.set_keys());
            case replica::Frame::kUnpair:
                return end(asked.unpair());
            default:
                return Error{"this is no call of the pairing", "is the peer's lbcluster of this version?", EPROTO};
        }
    };
    co_return co_await on_files(files_, work);
}

Answer PairingService::Call::begin(const replica::PairBegin& asked) {
    const auto node = look_at_node(paths_);
    if (!node) return node.error();
    replica::Frame frame;
    auto& state = *frame.mutable_pair_state();
    state.set_protocol(pairing_protocol);
    state.set_version(LBCLUSTER_VERSION);
    state.set_node(node->name);
    state.set_cluster_id(node->cluster_id);
    state.set_paired_with(node->paired_with);
    state.set_services(node->services);
    state.set_digest(node->digest);
    if (const auto may = may_pair(asked, state); !may) return may.error();
    begun_ = asked;
    return frame;
}

boost::asio::awaitable<Answer> PairingService::Call::open_ports(const replica::PairPorts& asked) {
    const auto executor = co_await boost::asio::this_coro::executor;
    if (ports_) ports_->close();
    ports_.reset();
    auto opened =
        Ports::open(executor, asked.peer_address(), asked.address(), static_cast<std::uint16_t>(asked.udp_port()),
                    static_cast<std::uint16_t>(asked.tcp_port()));
    if (!opened) co_return opened.error();
    ports_ = *opened;
    replica::Frame frame;
    frame.mutable_pair_ports_open()->set_udp(ports_->has_udp());
    co_return frame;
}

boost::asio::awaitable<Answer> PairingService::Call::try_ports() {
    const auto tried = co_await ports_->try_tcp();
    replica::Frame frame;
    frame.mutable_pair_ports_tried()->set_tcp_error(tried ? "" : tried.error().message);
    co_return frame;
}

Result<NodePlan> PairingService::Call::plan_of(const replica::PairPrepare& asked, const replica::PairBundle& bundle) {
    Contents contents;
    for (const std::string& bytes : bundle.contents()) contents.emplace(sha256(bytes), bytes);
    auto assembly = Assembly::make(bundle.offer(), contents);
    if (!assembly) return assembly.error();
    if (!assembly->complete()) return Error{"a part of the configuration is missing", "pair again", EPROTO};
    auto chain = assembly->finish();
    if (!chain) return chain.error();
    auto keys = KeyRing::parse(asked.heartbeat_key(), "the key that the peer has sent");
    if (!keys) return keys.error();
    if (keys->cluster_id_hex() != begun_->cluster_id()) return Error{"the key is that of another pair", "", EPROTO};
    auto key = ssh::checked_public_key(bundle.public_key());
    if (!key) return key.error();
    const auto node = look_at_node(paths_);
    if (!node) return node.error();
    auto text = with_peer(node->node_text, config::ROLE_SECONDARY, asked.peer_address(), asked.address());
    if (!text) return text.error();
    NodePlan plan{text->text, std::move(*keys), std::move(chain->back()), {}, *key};
    plan.record.set_node(begun_->node());
    plan.record.set_address(asked.address());
    plan.record.set_port(bundle.ssh_port());
    plan.record.set_user(bundle.user());
    plan.record.set_host_key_type(bundle.host_key_type());
    plan.record.set_host_key(bundle.host_key());
    plan.record.set_cluster_id(begun_->cluster_id());
    plan.record.set_local_address(asked.peer_address());
    return plan;
}

Answer PairingService::Call::prepare(const replica::PairPrepare& asked) {
    plan_.reset();
    const auto bytes = take_incoming(paths_);
    if (!bytes) return bytes.error();
    replica::PairBundle bundle;
    if (sha256(*bytes) != asked.bundle_sha256() || !bundle.ParseFromString(*bytes)) {
        return Error{"what SCP has brought is not what was sent", "pair again", EPROTO};
    }
    auto plan = plan_of(asked, bundle);
    if (!plan) return plan.error();
    if (const auto checked = check_plan(paths_, *plan); !checked) return checked.error();
    const auto node = look_at_node(paths_);
    if (!node) return node.error();
    const auto own = ssh::own_key_pair(paths_.state_dir, node->name);
    if (!own) return own.error();
    plan_ = std::move(*plan);
    replica::Frame frame;
    frame.mutable_pair_prepared()->set_public_key(own->public_key);
    return frame;
}

Answer PairingService::Call::commit() {
    if (const auto done = put_in_force(paths_, *plan_); !done) return done.error();
    change_ = "paired with " + plan_->record.node() + " at " + plan_->record.address() + ": this node is the secondary";
    plan_.reset();
    return check();
}

Answer PairingService::Call::check() {
    const auto node = look_at_node(paths_);
    if (!node) return node.error();
    replica::Frame frame;
    auto& active = *frame.mutable_pair_committed();
    active.set_digest(node->digest);
    active.set_revision(node->revision);
    active.set_cluster_id(node->cluster_id);
    active.set_node(node->name);
    return frame;
}

// As its own heartbeatd says; without one it serves nobody.
bool serves(const config::Paths& paths) {
    const auto items = bus::fetch(paths.socket_of("heartbeatd"), "node", 1s);
    if (!items) return false;
    return std::any_of(items->begin(), items->end(),
                       [](const bus::Item& item) { return item.has_node() && item.node().activity() == "active"; });
}

Answer PairingService::Call::end(const replica::Unpair& asked) {
    const auto node = look_at_node(paths_);
    if (!node) return node.error();
    replica::Frame frame;
    frame.mutable_unpaired();
    if (node->paired_with.empty()) return frame;  // done already
    if (node->cluster_id != asked.cluster_id()) {
        return Error{node->name + " is paired with " + node->paired_with + ", not with " + asked.node(), "", EPERM};
    }
    if (asked.clear() && serves(paths_)) {
        return Error{node->name + " serves the floating IPs just now, so it is not cleared",
                     "run 'lbcluster unpair' there; or make the other node active first", EPERM};
    }
    const auto done = end_pair(paths_, asked.clear(), "pairing by " + asked.node());
    if (!done) return done.error();
    change_ = asked.node() + " has ended the pair: this node is a single one" +
              (asked.clear() ? "; its floating IPs and services are that node's, and stay in the history here" : "");
    return frame;
}

Answer PairingService::Call::set_keys(const replica::SetKeys& asked) {
    const auto keys = KeyRing::parse(asked.heartbeat_key(), "the key that the peer has sent");
    if (!keys) return keys.error();
    const auto own = KeyRing::load(heartbeat_key_path(paths_.state_dir));
    if (!own) return own.error();
    if (own->cluster_id_hex() != keys->cluster_id_hex()) return Error{"the key is that of another pair", "", EPERM};
    if (const auto done = use_keys(paths_, *keys); !done) return done.error();
    replica::Frame frame;
    frame.mutable_keys_set()->set_fingerprint(keys->fingerprint());
    return frame;
}

PairingService::PairingService(boost::asio::any_io_executor executor, config::Paths paths,
                               std::function<void(const std::string&)> on_changed)
    : executor_(std::move(executor)), paths_(std::move(paths)), on_changed_(std::move(on_changed)) {}

PairingService::~PairingService() { files_.join(); }

bool PairingService::is_call(const replica::Frame& frame) {
    return frame.has_pair_begin() || frame.has_pair_check() || frame.has_unpair() || frame.has_set_keys();
}

void PairingService::take(std::unique_ptr<Channel> channel, replica::Frame first) {
    std::shared_ptr<Channel> shared = std::move(channel);
    boost::asio::co_spawn(executor_, serve(shared, std::move(first)), [shared](const std::exception_ptr& error) {
        shared->close();
        if (error) std::rethrow_exception(error);
    });
}

boost::asio::awaitable<void> PairingService::serve(std::shared_ptr<Channel> channel, replica::Frame first) {
    if (serving_) {
        const Error busy{"another pairing with this node is under way", "wait for its end", EPERM};
        (void)co_await channel->send(error_frame(5, busy), 5s);
        co_return;
    }
    serving_ = channel;
    Call call(files_, paths_);
    Result<replica::Frame> asked = std::move(first);
    while (asked) {
        auto answer = co_await call.answer(*asked);
        const std::string change = call.take_change();
        if (!change.empty()) on_changed_(change);
        replica::Frame frame = answer ? std::move(*answer) : error_frame(exit_code_of(answer.error()), answer.error());
        const auto sent = co_await channel->send(std::move(frame), asker_patience);
        if (!answer || !sent) break;
        asked = co_await channel->receive(asker_patience);
    }
    serving_.reset();
}

}  // namespace lbcluster::replicator
