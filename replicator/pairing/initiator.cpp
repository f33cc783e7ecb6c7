#include "replicator/pairing/initiator.hpp"

#include <openssl/crypto.h>

#include <boost/asio/this_coro.hpp>
#include <cerrno>

#include "lbcluster/base/clock.hpp"
#include "lbcluster/config/load.hpp"
#include "replicator/core/pairing.hpp"
#include "replicator/pairing/node_text.hpp"
#include "replicator/pairing/ports.hpp"
#include "replicator/parcel.hpp"
#include "replicator/ssh/key_pair.hpp"

namespace lbcluster::replicator {

namespace {

constexpr auto patience = 30s;
constexpr auto commit_patience = 60s;

PairFailure failure(const std::string& step, const Error& error) {
    return {exit_code_of_pairing(error), {step + ": " + error.message, error.hint, error.code}};
}

std::string now_text() { return format_rfc3339(realtime_ms_now()); }

// One pairing, step after step; each returns what is wrong.
class Pairing {
  public:
    Pairing(config::Paths paths, PairRequest request, PeerDialer& dialer, Progress progress)
        : paths_(std::move(paths)), request_(std::move(request)), dialer_(dialer), progress_(std::move(progress)) {}

    boost::asio::awaitable<Result<PairOutcome, PairFailure>> run();

  private:
    using Step = boost::asio::awaitable<Result<void>>;
    Result<void> look();
    Step begin();
    Step try_ports();
    Step prepare();
    Step commit();
    Step verify();
    Result<std::string> make_bundle();
    boost::asio::awaitable<Result<replica::Frame>> call(PeerConnection& to, replica::Frame asked, Duration limit);

    config::Paths paths_;
    PairRequest request_;
    PeerDialer& dialer_;
    Progress progress_;
    std::optional<LocalNode> node_;
    std::optional<KeyRing> keys_;
    std::optional<ssh::KeyPair> own_;
    std::unique_ptr<PeerConnection> peer_;
    std::optional<NodePlan> plan_;
    PairOutcome outcome_;
};

boost::asio::awaitable<Result<replica::Frame>> Pairing::call(PeerConnection& to, replica::Frame asked, Duration limit) {
    const auto sent = co_await to.channel().send(std::move(asked), limit);
    Result<replica::Frame> answer =
        sent ? Result<replica::Frame>(replica::Frame()) : Result<replica::Frame>(sent.error());
    if (sent) answer = co_await to.channel().receive(limit);
    if (!answer) {
        const std::string words = to.last_words();
        const bool missing = words.find("not found") != std::string::npos;
        co_return Error{"the connection to " + request_.peer + " ended (" + answer.error().message + ")" +
                            (words.empty() ? "" : "; it said: " + words),
                        missing ? "is lbcluster installed on the peer?"
                                : "is replicatord running on the peer? If so, look at the network and run the command "
                                  "again: it goes on where it was",
                        answer.error().code == ETIMEDOUT ? ETIMEDOUT : ECONNRESET};
    }
    if (answer->has_error()) {
        const auto& refused = answer->error();
        const int code = refused.exit_code() == 3 ? EINVAL : (refused.exit_code() == 5 ? EPERM : EIO);
        co_return Error{refused.message(), refused.hint(), code};
    }
    co_return answer;
}

Result<void> Pairing::look() {
    auto node = look_at_node(paths_);
    if (!node) return node.error();
    const bool same = node->paired_with.empty() || node->paired_with == request_.peer ||
                      (node->record && node->record->address() == request_.peer);
    if (!same) {
        return Error{"this node (" + node->name + ") is paired with " + node->paired_with + " already",
                     "end that first: lbcluster unpair", EPERM};
    }
    // What an edit by hand left becomes a revision first, so that it goes over as one.
    const auto settled = config::settle(paths_, 5s);
    if (!settled) return settled.error().error;
    node_ = std::move(*node);
    auto keys = key_for_pair(paths_);
    if (!keys) return keys.error();
    keys_ = std::move(*keys);
    auto own = ssh::own_key_pair(paths_.state_dir, node_->name);
    if (!own) return own.error();
    own_ = std::move(*own);
    return {};
}

Pairing::Step Pairing::begin() {
    auto connected = co_await dialer_.by_password();
    if (!connected) co_return connected.error();
    peer_ = std::move(*connected);
    replica::Frame frame;
    auto& begin = *frame.mutable_pair_begin();
    begin.set_protocol(pairing_protocol);
    begin.set_version(LBCLUSTER_VERSION);
    begin.set_node(node_->name);
    begin.set_cluster_id(keys_->cluster_id_hex());
    begin.set_digest(node_->digest);
    begin.set_replace_peer(request_.replace_peer);
    const replica::PairBegin asked = begin;
    const auto answer = co_await call(*peer_, std::move(frame), patience);
    if (!answer) co_return answer.error();
    if (!answer->has_pair_state()) co_return Error{"the peer answers in another language", "", EPROTO};
    outcome_.record.set_node(answer->pair_state().node());
    co_return may_pair(asked, answer->pair_state());
}

Pairing::Step Pairing::try_ports() {
    const auto executor = co_await boost::asio::this_coro::executor;
    const std::uint16_t tcp_port = request_.tcp_port != 0 ? request_.tcp_port : node_->peers_port;
    const auto opened = Ports::open(executor, request_.local, request_.peer, node_->heartbeat_port, tcp_port);
    if (!opened) co_return opened.error();
    const auto& ports = *opened;
    replica::Frame frame;
    auto& asked = *frame.mutable_pair_ports();
    asked.set_address(request_.local);
    asked.set_peer_address(request_.peer);
    asked.set_udp_port(node_->heartbeat_port);
    asked.set_tcp_port(tcp_port);
    const auto there = co_await call(*peer_, std::move(frame), patience);
    Result<void> done;
    if (!there) done = there.error();
    outcome_.heartbeats_tried = there && there->pair_ports_open().udp() && ports->has_udp();
    if (done && outcome_.heartbeats_tried) done = co_await ports->try_udp();
    if (done) done = co_await ports->try_tcp();
    if (done) {
        replica::Frame back;
        back.mutable_pair_ports_try();
        const auto tried = co_await call(*peer_, std::move(back), patience);
        if (!tried) done = tried.error();
        else if (!tried->pair_ports_tried().tcp_error().empty()) {
            done = Error{tried->pair_ports_tried().tcp_error(),
                         "open it in the firewalls of both nodes and of the network between them, in both directions",
                         EHOSTUNREACH};
        }
    }
    ports->close();
    co_return done;
}

Result<std::string> Pairing::make_bundle() {
    replica::PairBundle bundle;
    bundle.set_public_key(own_->public_key);
    bundle.set_host_key_type(request_.own_host_key.type);
    bundle.set_host_key(request_.own_host_key.base64);
    bundle.set_ssh_port(request_.ssh_port);
    bundle.set_user(request_.user);
    config::Revision revision;
    for (const config::Revision& one : config::history(paths_)) {
        if (one.digest() == node_->digest && !revision.has_digest()) revision = one;
    }
    if (!revision.has_digest()) return Error{"what is in force here is no revision", "try again", EAGAIN};
    Contents contents;
    if (!add_to_offer(revision, node_->content, *bundle.mutable_offer(), contents)) {
        return Error{"the configuration is too large to be sent", "", EMSGSIZE};
    }
    for (const auto& [key, bytes] : contents) bundle.add_contents(bytes);
    return bundle.SerializeAsString();
}

Pairing::Step Pairing::prepare() {
    const auto bundle = make_bundle();
    if (!bundle) co_return bundle.error();
    const auto sent = co_await peer_->upload(*bundle);
    if (!sent) co_return sent.error();
    replica::Frame frame;
    auto& asked = *frame.mutable_pair_prepare();
    asked.set_bundle_sha256(sha256(*bundle));
    asked.set_address(request_.local);
    asked.set_peer_address(request_.peer);
    asked.set_heartbeat_key(keys_->file_text());
    const auto answer = co_await call(*peer_, std::move(frame), patience);
    if (!answer) co_return answer.error();
    auto key = ssh::checked_public_key(answer->pair_prepared().public_key());
    if (!key) co_return key.error();
    auto text = with_peer(node_->node_text, config::ROLE_PRIMARY, request_.local, request_.peer);
    if (!text) co_return text.error();
    outcome_.comments_dropped = text->comments_dropped;
    const ssh::HostKey host_key = peer_->host_key();
    auto& record = outcome_.record;
    record.set_address(request_.peer);
    record.set_port(request_.ssh_port);
    record.set_user(request_.user);
    record.set_host_key_type(host_key.type);
    record.set_host_key(host_key.base64);
    record.set_cluster_id(keys_->cluster_id_hex());
    record.set_local_address(request_.local);
    record.set_paired(now_text());
    plan_.emplace(NodePlan{text->text, *keys_, std::nullopt, record, *key});
    co_return check_plan(paths_, *plan_);
}

Pairing::Step Pairing::commit() {
    // Somebody may have changed something while we talked.
    const auto now = look_at_node(paths_);
    if (!now) co_return now.error();
    if (now->digest != node_->digest || now->node_text != node_->node_text) {
        co_return Error{"the configuration here was changed meanwhile", "run the command again", EAGAIN};
    }
    replica::Frame frame;
    frame.mutable_pair_commit();
    const auto answer = co_await call(*peer_, std::move(frame), commit_patience);
    if (!answer) co_return answer.error();
    if (answer->pair_committed().digest() != node_->digest) {
        co_return Error{"the peer has something else in force than what was sent", "run the command again", EIO};
    }
    co_return put_in_force(paths_, *plan_);
}

// From now on by key: what is in force there is read back over the way that replication goes.
Pairing::Step Pairing::verify() {
    auto connected = co_await dialer_.by_key(outcome_.record, own_->private_key);
    if (!connected) co_return connected.error();
    replica::Frame frame;
    frame.mutable_pair_check();
    const auto answer = co_await call(**connected, std::move(frame), patience);
    (*connected)->channel().close();
    if (!answer) co_return answer.error();
    const auto& there = answer->pair_committed();
    if (there.digest() != node_->digest || there.cluster_id() != keys_->cluster_id_hex()) {
        co_return Error{"the peer has something else in force than this node", "run the command again", EIO};
    }
    outcome_.digest = there.digest();
    co_return Result<void>{};
}

boost::asio::awaitable<Result<PairOutcome, PairFailure>> Pairing::run() {
    progress_("attempting to pair");
    if (const auto looked = look(); !looked) co_return failure("this node cannot be paired", looked.error());
    const auto begun = co_await begin();
    if (!begun) co_return failure("attempting to pair with " + request_.peer, begun.error());
    const auto tried = co_await try_ports();
    if (!tried) co_return failure("nothing was changed; trying the ports of the pair", tried.error());
    progress_("configuring");
    const auto prepared = co_await prepare();
    if (!prepared) co_return failure("nothing was changed; configuring " + request_.peer, prepared.error());
    const auto committed = co_await commit();
    if (!committed) co_return failure("configuring " + request_.peer, committed.error());
    peer_->channel().close();
    const auto verified = co_await verify();
    if (!verified) co_return failure("the nodes are paired, but reading back failed", verified.error());
    co_return outcome_;
}

}  // namespace

int exit_code_of_pairing(const Error& error) {
    switch (error.code) {
        case EINVAL:
            return 3;
        case EPERM:
        case EACCES:
        case EKEYREJECTED:
        case EPROTONOSUPPORT:
        case EAGAIN:
            return 5;
        case ETIMEDOUT:
            return 6;
        default:
            return 1;
    }
}

boost::asio::awaitable<Result<PairOutcome, PairFailure>> pair_nodes(config::Paths paths, PairRequest request,
                                                                    PeerDialer& dialer, Progress progress) {
    Pairing pairing(std::move(paths), std::move(request), dialer, std::move(progress));
    co_return co_await pairing.run();
}

boost::asio::awaitable<Result<void, PairFailure>> tell_unpair(config::Paths paths, LocalNode node, PeerDialer& dialer,
                                                              bool clear_there) {
    const std::string step = "telling " + node.paired_with;
    if (!node.record) co_return failure(step, {"this node was not paired by 'lbcluster pair'", "", ENOENT});
    auto key = ssh::load_private_key(ssh::private_key_path(paths.state_dir));
    if (!key) co_return failure(step, key.error());
    auto connected = co_await dialer.by_key(*node.record, *key);
    OPENSSL_cleanse(key->data(), key->size());
    if (!connected) co_return failure(step, connected.error());
    replica::Frame frame;
    auto& asked = *frame.mutable_unpair();
    asked.set_cluster_id(node.cluster_id);
    asked.set_node(node.name);
    asked.set_clear(clear_there);
    Channel& channel = (*connected)->channel();
    const auto sent = co_await channel.send(std::move(frame), patience);
    Result<replica::Frame> answer =
        sent ? Result<replica::Frame>(replica::Frame()) : Result<replica::Frame>(sent.error());
    if (sent) answer = co_await channel.receive(commit_patience);
    if (!answer) co_return failure(step, answer.error());
    if (answer->has_error()) {
        constexpr unsigned refused = 5;
        const int code = answer->error().exit_code() == refused ? EBUSY : EIO;
        co_return failure(step, {answer->error().message(), answer->error().hint(), code});
    }
    co_return Result<void, PairFailure>{};
}

namespace {

// The peer first: this node accepts whatever it sends from then on.
boost::asio::awaitable<Result<void>> use_keys_on_both(const config::Paths& paths, Channel& channel, KeyRing keys) {
    replica::Frame frame;
    std::string text = keys.file_text();
    frame.mutable_set_keys()->set_heartbeat_key(text);
    OPENSSL_cleanse(text.data(), text.size());
    const auto sent = co_await channel.send(std::move(frame), patience);
    if (!sent) co_return sent.error();
    const auto answer = co_await channel.receive(patience);
    if (!answer) co_return answer.error();
    if (answer->has_error()) co_return Error{answer->error().message(), answer->error().hint(), EIO};
    if (answer->keys_set().fingerprint() != keys.fingerprint()) {
        co_return Error{"the peer has other keys than were sent", "is its lbcluster of this version?", EPROTO};
    }
    co_return use_keys(paths, keys);
}

boost::asio::awaitable<Result<void>> rotate_over(const config::Paths& paths, Channel& channel, KeyRing own,
                                                 KeyRing next) {
    // What a rotation that was broken off has left: both send with this node's first key, and then there is no other.
    std::vector<KeyRing> steps;
    if (own.size() > 1) steps.push_back(own);
    if (own.size() > 1) steps.push_back(own.first_only());
    const KeyRing old = own.first_only();
    const auto accepted = old.plus(next);
    const auto used = next.plus(old);
    if (!accepted) co_return accepted.error();
    if (!used) co_return used.error();
    steps.push_back(*accepted);
    steps.push_back(*used);
    steps.push_back(next);
    for (const KeyRing& step : steps) {
        const auto done = co_await use_keys_on_both(paths, channel, step);
        if (!done) co_return done.error();
    }
    co_return Result<void>{};
}

}  // namespace

boost::asio::awaitable<Result<std::string, PairFailure>> rotate_keys(config::Paths paths, PeerDialer& dialer) {
    const std::string step = "changing the key of the heartbeats";
    const auto record = read_peer_record(paths);
    if (!record) co_return failure(step, record.error());
    if (!*record) {
        co_return failure(step, {"this node was not paired by 'lbcluster pair': the new key would not get to the peer",
                                 "pair the nodes, or copy the file: lbcluster key generate --force", EPERM});
    }
    const auto own = KeyRing::load(heartbeat_key_path(paths.state_dir));
    if (!own) co_return failure(step, own.error());
    const auto next = own->successor();
    if (!next) co_return failure(step, next.error());
    auto key = ssh::load_private_key(ssh::private_key_path(paths.state_dir));
    if (!key) co_return failure(step, key.error());
    auto connected = co_await dialer.by_key(**record, *key);
    OPENSSL_cleanse(key->data(), key->size());
    if (!connected) co_return failure(step, connected.error());
    const auto done = co_await rotate_over(paths, (*connected)->channel(), *own, *next);
    if (!done) co_return failure(step + " (both nodes accept the old one still; run the command again)", done.error());
    co_return next->fingerprint();
}

}  // namespace lbcluster::replicator
