#include "heartbeat/realtime.hpp"

#include <link.h>
#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LBC_SANITIZED 1  // their shadow memory cannot be locked
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LBC_SANITIZED 1
#endif
#endif

namespace lbcluster::heartbeat {

#ifndef LBC_SANITIZED
namespace {

constexpr std::size_t stack_bytes = 256 * 1024;
constexpr std::size_t own_stack_bytes = 128 * 1024;
constexpr std::size_t heap_bytes = 256 * 1024;

// dl_iterate_phdr(3): the program itself has no name.
bool is_needed(const dl_phdr_info& module) {
    constexpr std::array<std::string_view, 4> needed{"/libc.so", "/libstdc++.so", "/libnl-3.so", "/ld-linux"};
    const std::string_view name = module.dlpi_name;
    return name.empty() || std::any_of(needed.begin(), needed.end(), [&](std::string_view part) {
               return name.find(part) != std::string_view::npos;
           });
}

template <class Work>
void for_each_segment(const dl_phdr_info& module, Work work) {
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    for (int i = 0; i < module.dlpi_phnum; ++i) {
        const auto& segment = module.dlpi_phdr[i];
        if (segment.p_type != PT_LOAD) continue;
        const std::uintptr_t at = module.dlpi_addr + segment.p_vaddr;
        const std::uintptr_t low = at / page * page;
        // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader gives numbers
        work(reinterpret_cast<void*>(low), at + segment.p_memsz - low, (segment.p_flags & PF_W) != 0);
    }
}

// Gives back what only the start needed of the other libraries. Pages that cannot have been written are the file's own.
int forget_module(dl_phdr_info* module, std::size_t /*bytes*/, void* /*unused*/) {
    if (is_needed(*module)) return 0;
    for_each_segment(*module, [](void* at, std::size_t bytes, bool writable) {
        if (!writable) ::madvise(at, bytes, MADV_DONTNEED);
    });
    return 0;
}

// mlock() fetches every page, other than mlockall() below.
int lock_module(dl_phdr_info* module, std::size_t /*bytes*/, void* /*unused*/) {
    if (!is_needed(*module)) return 0;
    for_each_segment(*module, [](void* at, std::size_t bytes, bool /*writable*/) { ::mlock(at, bytes); });
    return 0;
}

// Touched and given back: prepare_memory() makes the heap keep it.
void fetch_heap() {
    if (void* memory = std::malloc(heap_bytes)) {
        ::explicit_bzero(memory, heap_bytes);
        std::free(memory);
    }
}

[[gnu::noinline]] void fetch_own_stack() {
    std::array<std::uint8_t, own_stack_bytes> deep;
    ::explicit_bzero(deep.data(), deep.size());
}

void lock_stack(pthread_t thread) {
    pthread_attr_t attributes;
    if (::pthread_getattr_np(thread, &attributes) != 0) return;
    void* low = nullptr;
    std::size_t bytes = 0;
    if (::pthread_attr_getstack(&attributes, &low, &bytes) == 0) ::mlock(low, bytes);
    ::pthread_attr_destroy(&attributes);
}

}  // namespace
#endif

void prepare_memory() {
#ifndef LBC_SANITIZED
    pthread_attr_t attributes;
    if (::pthread_attr_init(&attributes) == 0) {
        ::pthread_attr_setstacksize(&attributes, stack_bytes);
        ::pthread_setattr_default_np(&attributes);
        ::pthread_attr_destroy(&attributes);
    }
    ::mallopt(M_ARENA_MAX, 1);
    // Memory once had is kept: no page faults later.
    ::mallopt(M_TRIM_THRESHOLD, 64 * 1024 * 1024);
    ::mallopt(M_MMAP_MAX, 0);
#endif
}

std::string lock_memory(const std::vector<pthread_t>& threads) {
#ifdef LBC_SANITIZED
    (void)threads;
#else
    ::dl_iterate_phdr(forget_module, nullptr);
    if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
        return std::string("mlockall: ") + std::strerror(errno);
    }
    // What fails from here on costs a page fault later, no more.
    ::dl_iterate_phdr(lock_module, nullptr);
    fetch_heap();
    fetch_own_stack();
    for (const pthread_t thread : threads) lock_stack(thread);
#endif
    return "";
}

std::string set_realtime(pthread_t thread, int priority) {
    sched_param parameters{};
    parameters.sched_priority = priority;
    const int error = ::pthread_setschedparam(thread, SCHED_RR | SCHED_RESET_ON_FORK, &parameters);
    return error == 0 ? "" : std::string("SCHED_RR: ") + std::strerror(error);
}

}  // namespace lbcluster::heartbeat
