#![allow(clippy::unwrap_used)]

use std::fs;

use tempfile::TempDir;

use super::*;

/// Base64 of `CERTIFICATE` and of `KEY`.
const CERTIFICATE: &str = "Q0VSVElGSUNBVEU=";
const KEY: &str = "S0VZ";

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

fn one(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         contexts:\n- name: here\n  context: {{cluster: c, user: u, namespace: demo}}\n\
         clusters:\n- name: c\n  cluster: {{server: 'https://127.0.0.1:6443', {cluster}}}\n\
         users:\n- name: u\n  user: {{{user}}}\n"
    )
}

fn chosen(cluster: &str, user: &str) -> Result<KubeconfigContext, KubeconfigError> {
    let files = Files::new();
    Kubeconfig::read(&files.write("config", &one(cluster, user)))?.choose(&KubeconfigChoice::default())
}

#[test]
fn a_server_its_ca_a_name_and_a_namespace() {
    let ca = STANDARD.encode("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    let chosen =
        chosen(&format!("tls-server-name: api.example, certificate-authority-data: {ca}"), "token: t").unwrap();
    assert_eq!(chosen.server.to_string(), "https://127.0.0.1:6443");
    assert_eq!((chosen.server_name.as_deref(), chosen.namespace.as_deref()), (Some("api.example"), Some("demo")));
    assert_eq!(chosen.credentials.token().unwrap().unwrap().expose(), "t");
    assert!(!chosen.credentials.trusts_system());
    assert!(chosen.credentials.ca_pem().unwrap().unwrap().bytes().starts_with(b"-----BEGIN CERTIFICATE"));
}

#[test]
fn without_a_ca_it_is_the_systems_and_without_a_user_nobody() {
    let files = Files::new();
    let text = "clusters: [{name: c, cluster: {server: 'https://h'}}]\nusers: null\ncontexts: [{name: x, context: {cluster: c}}]\n";
    let config = Kubeconfig::read(&files.write("config", text)).unwrap();
    let chosen = config.choose(&KubeconfigChoice::default().context("x")).unwrap();
    assert!(chosen.credentials.trusts_system());
    assert!(chosen.credentials.token().unwrap().is_none() && chosen.credentials.certificate().unwrap().is_none());
    assert!(config.choose(&KubeconfigChoice::default().cluster("c")).is_ok(), "a cluster is enough");
    let error = config.choose(&KubeconfigChoice::default()).unwrap_err().to_string();
    assert_eq!(error, "the kubeconfig has no current context: say --context, one of \"x\"");
}

#[test]
fn a_certificate_and_its_key_are_data_or_files_or_one_of_each() {
    let table = [
        format!("client-certificate-data: {CERTIFICATE}, client-key-data: {KEY}"),
        format!("client-certificate-data: {CERTIFICATE}, client-key: key.pem"),
        format!("client-certificate: certs/c.pem, client-key-data: {KEY}"),
        "client-certificate: certs/c.pem, client-key: key.pem".to_owned(),
    ];
    for user in table {
        let files = Files::new();
        files.write("certs/c.pem", "CERTIFICATE");
        files.write("key.pem", "KEY");
        let config = Kubeconfig::read(&files.write("config", &one("", &user))).unwrap();
        let chosen = config.choose(&KubeconfigChoice::default()).unwrap();
        let certificate = chosen.credentials.certificate().unwrap().unwrap();
        assert_eq!((certificate.certificate(), certificate.key()), (&b"CERTIFICATE"[..], &b"KEY"[..]), "{user}");
    }
}

#[test]
fn a_token_file_comes_before_a_token_and_is_beside_its_kubeconfig() {
    let files = Files::new();
    files.write("tokens/t", "from the file\n".replace(' ', "-").as_str());
    let config = Kubeconfig::read(&files.write("config", &one("", "token: written, tokenFile: tokens/t"))).unwrap();
    let token = config.choose(&KubeconfigChoice::default()).unwrap().credentials.token().unwrap().unwrap();
    assert_eq!(token.expose(), "from-the-file");
}

#[test]
fn what_is_not_supported_is_refused_with_what_to_do() {
    let table = [
        ("insecure-skip-tls-verify: true", "", "insecure-skip-tls-verify", "certificate-authority"),
        ("proxy-url: 'http://p:3128'", "", "proxy-url", "directly"),
        ("", "exec: {command: aws, apiVersion: x}", "exec", "kubectl create token"),
        ("", "auth-provider: {name: gcp}", "auth-provider", "kubectl create token"),
        ("", "username: hunter, password: hunter2", "username", "kubectl create token"),
        ("", "password: hunter2", "password", "kubectl create token"),
        ("", "token: t, as: somebody", "as", "own rights"),
        ("", "as-groups: [system:masters]", "as-groups", "own rights"),
        ("", "as-uid: '7'", "as-uid", "own rights"),
        ("", "as-user-extra: {scopes: [x]}", "as-user-extra", "own rights"),
    ];
    for (cluster, user, field, instead) in table {
        let error = chosen(cluster, user).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}` of the ")) && error.contains(instead), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
    assert!(chosen("insecure-skip-tls-verify: false, proxy-url: ''", "exec: null, as-groups: []").is_ok());
}

#[test]
fn fields_that_contradict_or_lack_something_are_errors() {
    let table = [
        ("certificate-authority: f, certificate-authority-data: QQ==".to_owned(), String::new(), "both there"),
        ("certificate-authority-data: '%%'".to_owned(), String::new(), "is not base64"),
        (String::new(), format!("client-certificate-data: {CERTIFICATE}"), "`client-key-data`"),
        (String::new(), format!("client-key-data: {KEY}"), "`client-certificate-data`"),
        (String::new(), format!("client-key-data: {KEY}, client-key: k"), "both there"),
    ];
    for (cluster, user, words) in table {
        let error = chosen(&cluster, &user).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let error = chosen("server: ''", "").unwrap_err();
    assert!(matches!(error, KubeconfigError::Syntax { .. }), "a doubled key: {error}");
}

#[test]
fn of_several_files_the_first_entry_of_a_name_counts_whole() {
    let files = Files::new();
    let first = files.write(
        "first",
        "contexts: [{name: a, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: 'https://one'}}]\n\
         users: [{name: u, user: {}}]\n",
    );
    let second = files.write(
        "deep/second",
        "current-context: b\ncontexts: [{name: a, context: {cluster: x}}, {name: b, context: {cluster: d, user: u}}]\n\
         clusters: [{name: c, cluster: {server: 'https://two', tls-server-name: n}}, {name: d, cluster: {server: 'https://d'}}]\n\
         users: [{name: u, user: {token: of-the-second}}]\n",
    );
    let third = files.write("third", "current-context: a\n");
    let missing = files.path("missing");
    let config = Kubeconfig::merged(&[missing.clone(), first, second, third]).unwrap();
    let a = config.choose(&KubeconfigChoice::default().context("a")).unwrap();
    assert_eq!((a.server.to_string().as_str(), a.server_name), ("https://one", None), "not mixed with the second's");
    assert!(a.credentials.token().unwrap().is_none());
    let current = config.choose(&KubeconfigChoice::default()).unwrap();
    assert_eq!(current.server.to_string(), "https://d", "the first current context");
    let mixed = KubeconfigChoice::default().context("a").cluster("d").user("u");
    assert_eq!(config.choose(&mixed).unwrap().server.to_string(), "https://d");
    let error = Kubeconfig::merged(&[missing]).unwrap_err().to_string();
    assert!(error.contains("missing") && error.contains("--kubeconfig FILE"), "{error}");
    assert!(Kubeconfig::merged(&[]).is_err());
}

#[test]
fn names_that_lead_nowhere_are_told_with_those_that_there_are() {
    let files = Files::new();
    let config = Kubeconfig::read(&files.write("config", &one("", ""))).unwrap();
    let choice = KubeconfigChoice::default;
    for (choice, what) in
        [(choice().context("z"), "context"), (choice().cluster("z"), "cluster"), (choice().user("z"), "user")]
    {
        let error = config.choose(&choice).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the kubeconfig has no {what} called \"z\"; it has \"")), "{error}");
    }
}

#[test]
fn what_is_no_kubeconfig_is_told_by_its_place_and_never_repeated() {
    let files = Files::new();
    let table = [
        ("users:\n- name: u\n  user: hunter2\n", "3:"),
        ("users:\n  hunter2\n", ":"),
        ("a: [hunter2\n", ":"),
        ("kind: Config\nclusters: [{cluster: {server: hunter2}}]\n", "2:"),
    ];
    for (text, place) in table {
        let error = Kubeconfig::read(&files.write("config", text)).unwrap_err();
        assert!(matches!(error, KubeconfigError::Syntax { .. }), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(place) && !shown.contains("hunter2"), "{shown}");
    }
    let error = Kubeconfig::read(&files.write("config", "kind: Pod\n")).unwrap_err();
    assert!(error.to_string().contains("\"Pod\""), "{error}");
    let twice = "users: [{name: u, user: {token: hunter2}}, {name: u}]\n";
    let error = Kubeconfig::read(&files.write("config", twice)).unwrap_err();
    assert!(matches!(&error, KubeconfigError::Twice { what: "user", .. }), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
    let large = format!("# {}", "x".repeat(usize::try_from(MAX_FILE).unwrap()));
    let error = Kubeconfig::read(&files.write("config", &large)).unwrap_err();
    assert!(matches!(error, KubeconfigError::TooLarge { .. }), "{error}");
}

#[test]
fn the_default_files_are_those_of_kubectl() {
    let files = |list: Option<&str>, home: Option<&str>| {
        Kubeconfig::default_files(list.map(OsStr::new), home.map(Path::new))
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(files(None, Some("/home/u")), ["/home/u/.kube/config"]);
    assert_eq!(files(Some(""), Some("/home/u")), ["/home/u/.kube/config"]);
    assert_eq!(files(Some("/a:b::/c"), Some("/home/u")), ["/a", "b", "/c"]);
    assert_eq!(files(None, None), [""; 0]);
}

#[test]
fn a_field_that_is_null_is_not_there() {
    let cluster = "tls-server-name: null, insecure-skip-tls-verify: null, certificate-authority: null, \
        certificate-authority-data: null, proxy-url: null, disable-compression: null, extensions: null";
    let user = "client-certificate: null, client-certificate-data: null, client-key: null, client-key-data: null, \
        token: t, tokenFile: null, as: null, as-uid: null, as-groups: null, as-user-extra: null, username: null, \
        password: null, auth-provider: null, exec: null";
    let text = one(cluster, user).replace("kind: Config", "kind: null\npreferences: null");
    let files = Files::new();
    let config = Kubeconfig::read(&files.write("config", &text.replace("namespace: demo", "namespace: ~"))).unwrap();
    let chosen = config.choose(&KubeconfigChoice::default()).unwrap();
    assert_eq!((chosen.namespace, chosen.server_name), (None, None));
    assert_eq!(chosen.credentials.token().unwrap().unwrap().expose(), "t");
    let nobody = text.replace("user: u,", "user: null,").replace("token: t", "token: null");
    let config = Kubeconfig::read(&files.write("nobody", &nobody)).unwrap();
    assert!(config.choose(&KubeconfigChoice::default()).unwrap().credentials.token().unwrap().is_none());
    let unnamed = nobody.replace("current-context: here", "current-context: null");
    let config = Kubeconfig::read(&files.write("unnamed", &unnamed)).unwrap();
    assert!(matches!(config.choose(&KubeconfigChoice::default()), Err(KubeconfigError::NoContext { .. })));
}
