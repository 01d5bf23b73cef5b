//! The words of the waiting page.

/// The words of one language. `{}` stands for a number.
#[derive(Debug)]
pub(super) struct Words {
    /// BCP 47, without region.
    pub(super) language: &'static str,
    pub(super) title: &'static str,
    pub(super) keep_open: &'static str,
    pub(super) ahead: &'static str,
    pub(super) minutes: &'static str,
    pub(super) unknown: &'static str,
    pub(super) closed: &'static str,
    pub(super) full: &'static str,
    pub(super) send_again: &'static str,
}

/// English first: whoever prefers nothing that is here gets it.
const LANGUAGES: [Words; 14] = [
    Words {
        language: "en",
        title: "You are in line",
        keep_open: "Keep this page open. It refreshes by itself and lets you in when it is your turn.",
        ahead: "People ahead of you: {}",
        minutes: "Estimated wait: {} min",
        unknown: "Estimated wait: unknown",
        closed: "Nobody is let in at the moment.",
        full: "All places are taken. Please try again later.",
        send_again: "What you were sending has not arrived. Send it again once you are in.",
    },
    Words {
        language: "de",
        title: "Sie stehen in der Warteschlange",
        keep_open: "Lassen Sie diese Seite offen. Sie aktualisiert sich selbst und lässt Sie ein, wenn Sie an der Reihe sind.",
        ahead: "Personen vor Ihnen: {}",
        minutes: "Geschätzte Wartezeit: {} Min.",
        unknown: "Geschätzte Wartezeit: unbekannt",
        closed: "Zurzeit wird niemand eingelassen.",
        full: "Alle Plätze sind belegt. Bitte versuchen Sie es später noch einmal.",
        send_again: "Was Sie gesendet haben, ist nicht angekommen. Senden Sie es noch einmal, sobald Sie eingelassen sind.",
    },
    Words {
        language: "fr",
        title: "Vous êtes dans la file d’attente",
        keep_open: "Gardez cette page ouverte. Elle s’actualise toute seule et vous laisse entrer quand c’est votre tour.",
        ahead: "Personnes devant vous : {}",
        minutes: "Attente estimée : {} min",
        unknown: "Attente estimée : inconnue",
        closed: "Personne n’est admis pour le moment.",
        full: "Toutes les places sont prises. Veuillez réessayer plus tard.",
        send_again: "Ce que vous envoyiez n’est pas arrivé. Renvoyez-le une fois entré.",
    },
    Words {
        language: "es",
        title: "Está en la cola",
        keep_open: "Mantenga esta página abierta. Se actualiza sola y le deja entrar cuando sea su turno.",
        ahead: "Personas delante de usted: {}",
        minutes: "Espera estimada: {} min",
        unknown: "Espera estimada: desconocida",
        closed: "En este momento no se admite a nadie.",
        full: "Todas las plazas están ocupadas. Vuelva a intentarlo más tarde.",
        send_again: "Lo que estaba enviando no ha llegado. Envíelo de nuevo cuando haya entrado.",
    },
    Words {
        language: "it",
        title: "È in coda",
        keep_open: "Tenga aperta questa pagina. Si aggiorna da sola e la fa entrare quando è il suo turno.",
        ahead: "Persone davanti a lei: {}",
        minutes: "Attesa stimata: {} min",
        unknown: "Attesa stimata: sconosciuta",
        closed: "Al momento non viene ammesso nessuno.",
        full: "Tutti i posti sono occupati. Riprovi più tardi.",
        send_again: "Ciò che stava inviando non è arrivato. Lo invii di nuovo una volta entrato.",
    },
    Words {
        language: "pt",
        title: "Está na fila",
        keep_open: "Mantenha esta página aberta. Ela atualiza-se sozinha e deixa-o entrar quando for a sua vez.",
        ahead: "Pessoas à sua frente: {}",
        minutes: "Espera estimada: {} min",
        unknown: "Espera estimada: desconhecida",
        closed: "De momento ninguém é admitido.",
        full: "Todos os lugares estão ocupados. Tente novamente mais tarde.",
        send_again: "O que estava a enviar não chegou. Envie de novo depois de entrar.",
    },
    Words {
        language: "nl",
        title: "U staat in de wachtrij",
        keep_open: "Laat deze pagina open. Ze ververst vanzelf en laat u binnen als u aan de beurt bent.",
        ahead: "Personen voor u: {}",
        minutes: "Geschatte wachttijd: {} min.",
        unknown: "Geschatte wachttijd: onbekend",
        closed: "Op dit moment wordt niemand binnengelaten.",
        full: "Alle plaatsen zijn bezet. Probeer het later opnieuw.",
        send_again: "Wat u verzond is niet aangekomen. Verzend het opnieuw zodra u binnen bent.",
    },
    Words {
        language: "pl",
        title: "Jesteś w kolejce",
        keep_open: "Nie zamykaj tej strony. Odświeża się sama i wpuści Cię, gdy nadejdzie Twoja kolej.",
        ahead: "Osoby przed Tobą: {}",
        minutes: "Szacowany czas oczekiwania: {} min",
        unknown: "Szacowany czas oczekiwania: nieznany",
        closed: "W tej chwili nikt nie jest wpuszczany.",
        full: "Wszystkie miejsca są zajęte. Spróbuj ponownie później.",
        send_again: "To, co wysyłano, nie dotarło. Wyślij ponownie po wejściu.",
    },
    Words {
        language: "sv",
        title: "Du står i kö",
        keep_open: "Låt sidan vara öppen. Den uppdateras av sig själv och släpper in dig när det är din tur.",
        ahead: "Personer före dig: {}",
        minutes: "Beräknad väntetid: {} min",
        unknown: "Beräknad väntetid: okänd",
        closed: "Ingen släpps in just nu.",
        full: "Alla platser är upptagna. Försök igen senare.",
        send_again: "Det du skickade kom inte fram. Skicka det igen när du är inne.",
    },
    Words {
        language: "cs",
        title: "Jste ve frontě",
        keep_open: "Nechte tuto stránku otevřenou. Sama se obnovuje a pustí vás dovnitř, až na vás přijde řada.",
        ahead: "Lidé před vámi: {}",
        minutes: "Odhadované čekání: {} min",
        unknown: "Odhadované čekání: neznámé",
        closed: "Momentálně není nikdo vpuštěn.",
        full: "Všechna místa jsou obsazena. Zkuste to prosím později.",
        send_again: "Co jste odesílali, nedorazilo. Odešlete to znovu, až budete uvnitř.",
    },
    Words {
        language: "tr",
        title: "Sıradasınız",
        keep_open: "Bu sayfayı açık tutun. Kendiliğinden yenilenir ve sıranız gelince sizi içeri alır.",
        ahead: "Önünüzdeki kişi sayısı: {}",
        minutes: "Tahmini bekleme: {} dk",
        unknown: "Tahmini bekleme: bilinmiyor",
        closed: "Şu anda kimse içeri alınmıyor.",
        full: "Tüm yerler dolu. Lütfen daha sonra tekrar deneyin.",
        send_again: "Gönderdiğiniz şey ulaşmadı. İçeri girince yeniden gönderin.",
    },
    Words {
        language: "ja",
        title: "順番をお待ちください",
        keep_open: "このページを開いたままにしてください。自動的に更新され、順番が来ると入場できます。",
        ahead: "前にお待ちの人数: {}",
        minutes: "待ち時間の目安: {} 分",
        unknown: "待ち時間の目安: 不明",
        closed: "現在、入場を停止しています。",
        full: "満員です。しばらくしてからもう一度お試しください。",
        send_again: "送信中の内容は届いていません。入場後にもう一度送信してください。",
    },
    Words {
        language: "zh",
        title: "您正在排队",
        keep_open: "请保持此页面打开。页面会自动刷新，轮到您时即可进入。",
        ahead: "您前面的人数：{}",
        minutes: "预计等待：{} 分钟",
        unknown: "预计等待：未知",
        closed: "目前暂停进入。",
        full: "名额已满，请稍后再试。",
        send_again: "您发送的内容尚未送达。进入后请重新发送。",
    },
    Words {
        language: "ko",
        title: "대기 중입니다",
        keep_open: "이 페이지를 열어 두세요. 자동으로 새로 고쳐지며 차례가 되면 입장합니다.",
        ahead: "앞에 대기 중인 인원: {}",
        minutes: "예상 대기 시간: {}분",
        unknown: "예상 대기 시간: 알 수 없음",
        closed: "현재 입장이 중단되었습니다.",
        full: "모든 자리가 찼습니다. 나중에 다시 시도해 주세요.",
        send_again: "보내신 내용이 전달되지 않았습니다. 입장한 후 다시 보내 주세요.",
    },
];

/// The words for what a visitor accepts, as `Accept-Language` has it: the first of the most wanted that is here.
pub(super) fn words(accepted: &str) -> &'static Words {
    let mut wanted: Vec<(f32, &str)> = accepted
        .split(',')
        .filter_map(|range| {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let quality = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |quality| quality.parse().ok())?;
            Some((quality, tag.trim()))
        })
        .filter(|(quality, _)| *quality > 0.0)
        .collect();
    wanted.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let found = wanted.iter().find_map(|(_, tag)| LANGUAGES.iter().find(|words| words.language == primary(tag)));
    found.unwrap_or(&LANGUAGES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_gets_the_language_that_he_wants_most() {
        for (accepted, expected) in [
            ("", "en"),
            ("de-AT,de;q=0.9,en;q=0.5", "de"),
            ("en;q=0.5, fr-CA", "fr"),
            ("tlh, ja;q=0.2", "ja"),
            ("tlh", "en"),
            ("de;q=0, it;q=0.1", "it"),
            ("zh-Hant-TW", "zh"),
            ("pt-BR;q=nonsense, ko", "ko"),
        ] {
            assert_eq!(words(accepted).language, expected, "{accepted}");
        }
    }

    #[test]
    fn every_language_says_everything_and_names_its_numbers() {
        for words in &LANGUAGES {
            assert!(words.ahead.matches("{}").count() == 1 && words.minutes.matches("{}").count() == 1, "{words:?}");
        }
        let mut languages: Vec<&str> = LANGUAGES.iter().map(|words| words.language).collect();
        languages.dedup();
        assert_eq!(languages.len(), LANGUAGES.len());
    }
}
