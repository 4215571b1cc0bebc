/** Raises the notifications of `notify.html`: those of a service worker outlive the page, and bring it back when clicked. */
self.addEventListener('install', () => self.skipWaiting())
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()))

self.addEventListener('notificationclick', (event) => {
	event.notification.close()
	event.waitUntil(show(event.notification.data))
})

async function show(url) {
	const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true })
	const page = pages.find((candidate) => candidate.url === url)
	return page ? page.focus() : self.clients.openWindow(url)
}
