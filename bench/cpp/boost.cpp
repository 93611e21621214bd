// boost::interprocess behind plain functions, so that its queue and its mutex are played with as all the others are.
#define BOOST_INTERPROCESS_MSG_QUEUE_CIRCULAR_INDEX // insertion without moving the whole index
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <cstdint>
#include <new>

using namespace boost::interprocess;

extern "C" {

void *skep_bench_boost_queue(const char *name, std::size_t depth, bool create) noexcept {
  try {
    return create ? new message_queue(create_only, name, depth, sizeof(std::uint64_t)) : new message_queue(open_only, name);
  } catch (...) {
    return nullptr;
  }
}

void skep_bench_boost_unlink(const char *name) noexcept { message_queue::remove(name); }

bool skep_bench_boost_try_send(void *queue, std::uint64_t item) noexcept {
  try {
    return static_cast<message_queue *>(queue)->try_send(&item, sizeof item, 0);
  } catch (...) {
    return false;
  }
}

bool skep_bench_boost_try_receive(void *queue, std::uint64_t *item) noexcept {
  try {
    message_queue::size_type size;
    unsigned priority;
    return static_cast<message_queue *>(queue)->try_receive(item, sizeof *item, size, priority);
  } catch (...) {
    return false;
  }
}

std::size_t skep_bench_boost_mutex_size() noexcept { return sizeof(interprocess_mutex); }

void skep_bench_boost_mutex_init(void *place) noexcept { new (place) interprocess_mutex; }

// Adds one to the counter so many times, each under the lock.
void skep_bench_boost_mutex_add(void *mutex, volatile std::uint64_t *counter, std::uint32_t times) noexcept {
  auto &lock = *static_cast<interprocess_mutex *>(mutex);
  for (std::uint32_t n = 0; n < times; n++) {
    lock.lock();
    *counter = *counter + 1;
    lock.unlock();
  }
}
}
