// BIND: waits for one connection at a proxy, says from where it came, and sends
// back all that it receives.  Its one argument is a SocksClientOptions in JSON.
'use strict';

const { SocksClient } = require('socks');

const client = new SocksClient({ ...JSON.parse(process.argv[2]), command: 'bind' });
client.on('error', fail);
client.on('bound', ({ remoteHost }) => tell('bound', remoteHost));
client.on('established', ({ socket, remoteHost }) => {
  tell('established', remoteHost);
  socket.on('error', fail);
  // Not pipe(), which would have the socket flow before the package has handed
  // over what came together with the proxy's reply.
  socket.on('data', (data) => socket.write(data));
});
client.connect();

function tell(event, { host, port }) {
  console.log(`${event} ${host} ${port}`);
}

function fail(error) {
  console.error(error.message);
  process.exitCode = 1;
}
